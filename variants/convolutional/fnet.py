"""FNet: a Fourier transform over channels and tokens, with nothing to learn."""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(
    name="fnet",
    family="convolutional",
    patterns="ns",
    summary="the real part of a two-dimensional Fourier transform, without parameters",
    paper="FNet: Mixing Tokens with Fourier Transforms (Lee-Thorp, Ainslie, Eckstein, Ontanon)",
    year=2021,
    arxiv="2105.03824",
    time="N d log(N d)",
    memory="N d",
    published_defaults="no hyper-parameters; transforms without normalisation, here orthonormal",
    added="2026-11-21",
)
class FourierMixer(Attention):
    r"""Transform channels, then tokens: :math:`y = \mathrm{Re}(F_N \, x \, F_d)`.

    .. math:: y_{tc} = \frac{1}{\sqrt{N d}} \mathrm{Re} \sum_{s, b}
              e^{-2 \pi i (t s / N + c b / d)} x_{sb}

    In the paper the stream's norm follows the sum x + F(x), in which F, not normalised, outweighs
    x by sqrt(N d); here the norm comes before, so the transforms are orthonormal. A padded row is
    transformed over its own N tokens, wherever they stand, one row after the other: over the
    padded length all frequencies would move. A DFT has no causal form.
    """

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix; padded positions give 0. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        # In 32 bits at least: no transform takes fewer on a CPU.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        spectra = torch.fft.fft(wide, dim=2, norm="ortho")
        if key_padding_mask is None:
            return _over_tokens(spectra).to(x.dtype)
        out = torch.zeros_like(wide)
        for row, absent in enumerate(key_padding_mask):
            kept = (~absent).nonzero()[:, 0]
            if len(kept):
                out[row, kept] = _over_tokens(spectra[row : row + 1, kept])[0]
        return out.to(x.dtype)


def _over_tokens(spectra: Complex[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    return torch.fft.fft(spectra, dim=1, norm="ortho").real
