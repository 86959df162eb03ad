"""Frequency channel attention: a coefficient of a cosine transform describes each channel."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, zero_padding
from cab.registry import register_variant

CHOSEN = (
    *((0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0)),
    *((5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2)),
)
"""The 16 frequencies (of rows, of columns) that the authors found best, on 7 x 7 places."""
SIDE = 7


@register_variant(
    name="fca",
    family="feature_map",
    patterns="ns",
    summary="channels gated by two linear layers on cosine coefficients of the feature map",
    paper="FcaNet: Frequency Channel Attention Networks (Qin, Zhang, Wu, Li)",
    year=2020,
    arxiv="2012.11779",
    time="N d",
    memory="N d",
    needs_grid=True,
    published_defaults="the 16 best frequencies and reduction 16, for maps of 256 channels and "
    "more; here the 4 best and reduction 4, for maps of 16 channels",
    added="2026-11-30",
)
class FrequencyChannelAttention(Attention):
    r"""Scale channels: :math:`y = x \odot \sigma(W_2\,\mathrm{relu}(W_1 f))`.

    .. math:: f_c = \sum_{i=0}^{R-1} \sum_{j=0}^{C-1} x_{cij}\, b_{u}(i, R)\, b_{v}(j, C), \quad
              b_u(i, n) = \sqrt{\tfrac{1 + [u > 0]}{n}} \cos\frac{\pi u (i + 1/2)}{n}

    The channels are parted into as many groups as there are frequencies; all channels of a group
    have the same (u, v). With the frequency (0, 0) alone, f is the mean times
    :math:`\sqrt{R C}`, and the gate is squeeze-and-excitation. The authors choose frequencies on
    maps of 7 x 7 places; on R x C places, u is multiplied by R / 7 and v by C / 7, rounded down.
    The layers have no bias, as theirs. Padding is zeroed, and the sums leave it out.
    """

    @dataclass(frozen=True)
    class Config:
        """frequencies used, of 16; reduction of the channels' hidden layer."""

        frequencies: int = 4
        reduction: int = 4

        def __post_init__(self) -> None:
            if not 1 <= self.frequencies <= len(CHOSEN) or self.reduction < 1:
                raise ValueError("frequencies must be 1 to 16, reduction at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        assert self.grid is not None
        count, hidden = self.config.frequencies, max(1, self.dim // self.config.reduction)
        of_channel = [CHOSEN[channel * count // self.dim] for channel in range(self.dim)]
        self.frequencies = [
            [one[along] * size // SIDE for one in of_channel]
            for along, size in enumerate(self.grid)
        ]
        self.squeeze = nn.Linear(self.dim, hidden, bias=False)
        self.excite = nn.Linear(hidden, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Gate the map. See `Attention.forward`."""
        x = zero_padding(x, key_padding_mask)
        assert self.grid is not None
        rows, columns = (
            _waves(frequencies, size, x)
            for frequencies, size in zip(self.frequencies, self.grid, strict=True)
        )
        of_rows = (x.unflatten(1, self.grid) * columns).sum(dim=2)
        coefficients = (of_rows * rows).sum(dim=1)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(coefficients))))[:, None]


def _waves(frequencies: list[int], size: int, like: Tensor) -> Float[Tensor, "R D"]:
    """Return a cosine of each frequency along `size` places, each of length 1."""
    wide = torch.promote_types(like.dtype, torch.float32)
    u = torch.tensor(frequencies, dtype=wide, device=like.device)
    places = torch.arange(size, dtype=wide, device=like.device)[:, None] + 0.5
    waves = torch.cos(math.pi * u * places / size) * ((1 + (u > 0)) / size).sqrt()
    return waves.to(like.dtype)
