"""CARE: a part of the channels attends linearly, others are convolved, and both interact twice."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source, zero_padding
from cab.errors import UnsupportedWidth
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import elu_plus_one, hide


@register_variant(
    name="care",
    family="linear",
    patterns="ns",
    summary="linear attention on a quarter of the channels, convolutions on others, mixed in two "
    "steps",
    paper="CARE Transformer: Mobile-Friendly Linear Visual Transformer via Decoupled Dual "
    "Interaction (Zhou, Xu, Cui, Zhou, Zhang, Hong, Zhang)",
    year=2024,
    arxiv="2411.16170",
    padding="distance",
    time="N d^2 (inner + outer)",
    memory="N d (inner + outer)",
    needs_grid=True,
    published_defaults="interactions that widen 2 or 4 times and replace the feed-forward part, "
    "batch normalisation; attention in the last two of four stages, a sum of 11 x 1 and 1 x 11 "
    "convolutions before; here interactions that do not widen, beside a feed-forward part, layer "
    "normalisation, attention in every layer",
    added="2026-11-30",
)
class CareAttention(Attention):
    r"""Split the channels into memory m, global a, and local b and c; mix a, b, c, then all.

    .. math:: a'_t = \frac{\mathrm{mean}_s (\phi(q_t) \cdot \phi(k_s))\, a_s}
              {\mathrm{mean}_s\, \phi(q_t) \cdot \phi(k_s) + 10^{-6}}, \quad (q, k) = W a, \quad
              \phi = \mathrm{elu} + 1, \qquad f = [a', w_3 * b, w_7 * c]

    .. math:: g = f + I_1(f), \quad y = [m, g] + I_2([m, g]), \quad
              I(x) = W_2 \big(w * \mathrm{GELU}(W_1 \mathrm{LN}(x))\big)

    a, b and c have a quarter of the channels each (in each head, rounded down), m has the rest:
    the dynamic memory unit, in which I_2 meets what earlier layers left in the stream. w_3, w_7
    and w are depthwise convolutions of 3 x 3, 7 x 7 and 3 x 3 with biases; I_1 widens r_1 times,
    I_2 r_2 times. Attention is within heads. Batch normalisation would let examples read each
    other, so that layer normalisation stands in its place. Work is linear in the number of tokens.
    """

    @dataclass(frozen=True)
    class Config:
        """inner: r_1, channels in the first interaction for each outside. outer: r_2."""

        inner: int = 1
        outer: int = 1

        def __post_init__(self) -> None:
            if min(self.inner, self.outer) < 1:
                raise ValueError("inner and outer must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        part = self.heads * (self.dim // self.heads // 4)
        if part == 0:
            raise UnsupportedWidth("A head of less than 4 channels cannot be cut into four parts.")
        self.parts = (self.dim - 3 * part, part, part, part)
        self.scores = nn.Linear(part, 2 * part)
        self.near, self.far = (
            nn.Conv2d(part, part, width, padding=width // 2, groups=part) for width in (3, 7)
        )
        self.first = _Interaction(3 * part, self.config.inner, self.grid)
        self.second = _Interaction(self.dim, self.config.outer, self.grid)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Decouple, then interact twice. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        memory, a, b, c = x.split(self.parts, dim=-1)
        local = [
            convolve(part.mT.unflatten(2, self.grid)).flatten(2).mT
            for convolve, part in ((self.near, b), (self.far, c))
        ]
        features = torch.cat((self._attend(a, key_padding_mask), *local), dim=-1)
        features = features + self.first(features, key_padding_mask)
        joined = torch.cat((memory, features), dim=-1)
        return joined + self.second(joined, key_padding_mask)

    def _attend(
        self, a: Float[Tensor, "B N C"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B N C"]:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (*self.scores(a).chunk(2, dim=-1), a)
        )
        q, k = elu_plus_one(q), hide(elu_plus_one(k), key_padding_mask)
        count = torch.full_like(a[:, :1, :1], a.shape[1])
        if key_padding_mask is not None:
            count = (~key_padding_mask).sum(dim=1).clamp(min=1)[:, None, None].to(a.dtype)
        return _weighted(q, k, v, count[:, None]).transpose(1, 2).flatten(-2)


@at_least_float32
def _weighted(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    count: Float[Tensor, "B 1 1 1"],
) -> Float[Tensor, "B H N E"]:
    total = q @ (k.sum(dim=2, keepdim=True) / count).mT
    return (q @ ((k / count).mT @ v)) / (total + 1e-6)


class _Interaction(nn.Module):
    """Normalise, widen, convolve, project back: I above."""

    def __init__(self, dim: int, ratio: int, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.grid, wide = grid, ratio * dim
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, wide)
        self.local = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.output = nn.Linear(wide, dim)

    def forward(
        self, x: Float[Tensor, "B N C"], key_padding_mask: Bool[Tensor, "B N"] | None
    ) -> Float[Tensor, "B N C"]:
        inner = zero_padding(F.gelu(self.widen(self.norm(x))), key_padding_mask)
        return self.output(self.local(inner.mT.unflatten(2, self.grid)).flatten(2).mT)
