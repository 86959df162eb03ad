"""What the convolutional mixers share: a convolution on a line or on a grid.

Dimensions: B batch, N length, C channels, R tokens that a convolution looks back.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Attention


class Convolution(nn.Module):
    """Filters with taps at the distances 0 ... reach, times the dilation.

    depthwise: one filter per channel, else one per pair of channels. In NS taps lie on both
    sides, on a picture in both directions; in CS they lie in the past, so that both patterns
    reach equally far back. Places beyond the ends hold 0.
    """

    def __init__(
        self,
        mixer: Attention,
        channels: int,
        reach: int,
        *,
        dilation: int = 1,
        bias: bool = True,
        depthwise: bool = True,
    ) -> None:
        super().__init__()
        self.causal = mixer.pattern.causal
        self.grid = None if self.causal else mixer.grid
        self.reach = reach * dilation
        taps = reach + 1 if self.causal else 2 * reach + 1
        make = nn.Conv1d if self.grid is None else nn.Conv2d
        groups = channels if depthwise else 1
        self.filters = make(channels, channels, taps, dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        """Filter the whole sequence or picture (in raster order)."""
        before, after = self.reach, 0 if self.causal else self.reach
        if self.grid is None:
            return self.filters(F.pad(x.mT, (before, after))).mT
        picture = F.pad(x.mT.unflatten(2, self.grid), (before, after, before, after))
        return self.filters(picture).flatten(2).mT

    def step(
        self, x: Float[Tensor, "B C"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B R C"]]:
        """Filter one token (CS) after the R = reach x dilation before it."""
        seen = torch.cat((recent, x[:, None]), dim=1)
        return self.filters(seen.mT)[:, :, 0], seen[:, 1:]

    def nothing_recent(self, batch: int) -> Float[Tensor, "B R C"]:
        """Return what stands before the first token."""
        return self.filters.weight.new_zeros(batch, self.reach, self.filters.in_channels)
