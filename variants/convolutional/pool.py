"""Pooling: the mean of the neighbours minus the token itself."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(
    name="pool",
    family="convolutional",
    patterns="ns",
    summary="the mean over neighbouring tokens minus the token itself, without parameters",
    paper="MetaFormer Is Actually What You Need for Vision (Yu, Luo, Zhou, Si, Zhou, Wang, Feng, "
    "Yan)",
    year=2021,
    arxiv="2111.11418",
    padding="distance",
    time="N d reach^2",
    memory="N d",
    sees="abs(t - s) <= reach and N > 1",
    published_defaults="pools of 3 x 3 (reach 1), as here",
    added="2026-11-21",
)
class Pooling(Attention):
    r"""Average the neighbours: :math:`y_t = \frac{1}{|V_t|} \sum_{s \in V_t} x_s - x_t`.

    V_t are the tokens at most `reach` away, on a picture those of a square; padding and what lies
    beyond the ends are not counted. x is subtracted because the backbone adds it. The first token
    of a causal form would read nothing but itself and give 0 always, so there is none.
    """

    @dataclass(frozen=True)
    class Config:
        """reach: tokens on each side."""

        reach: int = 1

        def __post_init__(self) -> None:
            if self.reach < 1:
                raise ValueError("reach must be at least 1")

    config: Config

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Pool and subtract. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        present = torch.ones_like(wide[:, :, :1])
        if key_padding_mask is not None:
            present = present.masked_fill(key_padding_mask[:, :, None], 0.0)
        total, count = self._over_window(wide), self._over_window(present)
        # A padded token far from all others counts none.
        return (total / count.clamp(min=1) - wide).to(x.dtype)

    def _over_window(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        """Sum over the window of every token; a line is a picture of one row."""
        reach, grid = self.config.reach, self.grid or (1, x.shape[1])
        reaches = (reach, reach) if self.grid else (0, reach)
        size = [2 * part + 1 for part in reaches]
        # Sums and not means: of a single token nothing may be left, not even rounding.
        picture = F.pad(x.mT.unflatten(2, grid), (reach, reach, reaches[0], reaches[0]))
        return F.avg_pool2d(picture, size, stride=1, divisor_override=1).flatten(2).mT
