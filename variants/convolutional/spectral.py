"""Spectral gating: a learned weight for every frequency and channel."""

from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.registry import register_variant


@register_variant(
    name="spectral",
    family="convolutional",
    patterns="ns",
    summary="a Fourier transform over the tokens, a complex weight per frequency, and the inverse",
    paper="SpectFormer: Frequency and Attention is what you need in a Vision Transformer (Patro, "
    "Namboodiri, Agneeswaran)",
    year=2023,
    arxiv="2304.06446",
    padding="distance",
    time="N d log(N)",
    memory="N d",
    fixed_length=True,
    published_defaults="no hyper-parameters; weights for the 14 x 14 patches of an image, here "
    "for the grid or the longest sequence",
    added="2026-11-21",
)
class SpectralGating(Attention):
    r"""Multiply spectra: :math:`y = F^{-1}(\omega \odot F(x))`, a circular convolution.

    F is the orthonormal transform of each channel over the picture, or, without a grid, over the
    sequence; omega has a complex number per frequency and channel. It is learned for one length L
    (max_length): a shorter sequence is followed by zeros, as is a padded one, so that padding
    changes nothing. In the paper such layers come first and attention later.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.sizes = (self.max_length,) if self.grid is None else self.grid
        frequencies = (*self.sizes[:-1], self.sizes[-1] // 2 + 1)
        self.weight = nn.Parameter(torch.randn(*frequencies, self.dim, 2) * 0.02)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Transform, weigh, transform back. See `Attention.forward`.

        Raises:
            ValueError: x is longer than the length that the weights are for.
        """
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        length = x.shape[1]
        if length > self.max_length:
            raise ValueError(f"{length} tokens; the weights are for up to {self.max_length}.")
        # In 32 bits at least: no transform takes fewer on a CPU.
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = torch.view_as_complex(self.weight.to(wide))
        if self.grid is None:
            spectrum = torch.fft.rfft(x.to(wide), n=self.max_length, dim=1, norm="ortho")
            y = torch.fft.irfft(spectrum * weight, n=self.max_length, dim=1, norm="ortho")
            return y[:, :length].to(x.dtype)
        picture = x.to(wide).unflatten(1, self.grid)
        spectrum = torch.fft.rfft2(picture, dim=(1, 2), norm="ortho")
        y = torch.fft.irfft2(spectrum * weight, s=self.grid, dim=(1, 2), norm="ortho")
        return y.flatten(1, 2).to(x.dtype)
