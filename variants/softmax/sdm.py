"""Sparse distributed memory as attention: weights are intersections of two circles."""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


@register_variant(
    name="sdm",
    family="softmax",
    patterns="ns cs nc cc",
    extended="ns cs nc cc",
    summary="attention weights from the overlap of the memory regions around query and key",
    paper="Attention Approximates Sparse Distributed Memory (Bricken, Pehlevan)",
    year=2021,
    arxiv="2111.05498",
    time="N M d",
    memory="N M",
    state="2 M E",
    sees="chosen",
    gradients="estimated",
    published_defaults="64 bits and a radius of 11, the best for noisy queries; the same here, "
    "with interpolation between the steps of two bits",
    added="2026-11-21",
)
class SparseDistributedMemoryAttention(CachedAttention):
    r"""The weight of key k counts the memory addresses within the radius of both q and k.

    .. math:: I(\delta) = \sum_{a=0}^{\delta} \binom{\delta}{a}
              \sum_{b=0}^{r - \max(a, \delta - a)} \binom{n - \delta}{b}, \quad
              \delta_{ts} = \frac{n}{2} (1 - \cos \theta_{ts}), \quad
              o_t = \frac{\sum_{s \in V_t} I(\delta_{ts}) v_s}{\sum_{s \in V_t} I(\delta_{ts})}

    :math:`\theta_{ts}` is the angle between q_t and k_s; V_t are the unpadded keys, in CS those up
    to t. Of the addresses of n bits, I counts those within r bits of both of two that differ in
    :math:`\delta` bits. The paper rounds :math:`\delta` down to whole bits; as
    :math:`I(2m - 1) = I(2m)`, that is a stair with steps of two bits. Here :math:`\log I` is
    linear between the middles of the steps, the even numbers, so that the angle has a gradient.
    From 2r + 1 bits on there are no shared addresses: such a key is not read, and a query without
    a nearer one gets 0. Gradients leave out that keys come into reach and leave it. The paper
    shows that softmax of :math:`\beta \cos \theta` approximates this; here the memory itself is
    what is trained.
    """

    @dataclass(frozen=True)
    class Config:
        """bits: n, the length of addresses. radius: r, below half of it; smaller is sharper."""

        bits: int = 64
        radius: int = 11

        def __post_init__(self) -> None:
            if self.radius < 1 or 2 * self.radius >= self.bits:
                raise ValueError("radius must be at least 1 and less than half of bits")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        # Plain numbers: a buffer would be rounded with the module to bfloat16.
        self.log_shared = _log_shared_addresses(self.config.bits, self.config.radius)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        # In float32 at least: half a bit of an address is a small difference of the cosine.
        precise = torch.promote_types(q.dtype, torch.float32)
        cosine = F.normalize(q.to(precise), dim=-1) @ F.normalize(k.to(precise), dim=-1).mT
        scores, beyond = self._log_intersection(cosine)
        return masked_softmax(scores, hidden | beyond).to(v.dtype) @ v

    def _log_intersection(
        self, cosine: Float[Tensor, "B H N M"]
    ) -> tuple[Float[Tensor, "B H N M"], Bool[Tensor, "B H N M"]]:
        """Return log I, up to a constant, and where I is 0."""
        table = torch.tensor(self.log_shared, dtype=cosine.dtype, device=cosine.device)
        steps = (self.config.bits / 4 * (1 - cosine)).clamp(min=0)
        whole = steps.detach().long().clamp(max=len(table) - 2)
        log_shared = table[whole] + table.diff()[whole] * (steps - whole)
        return log_shared, 2 * steps >= 2 * self.config.radius + 1


@lru_cache(maxsize=64)
def _log_shared_addresses(bits: int, radius: int) -> tuple[float, ...]:
    """Return log I(0), log I(2), log I(4), ... up to the distance 2 r, less the first.

    At a distance of d bits, an address with a of these d bits and b of the others flipped is
    within the radius of both if b <= r - max(a, d - a).
    """
    logs = []
    for distance in range(0, 2 * radius + 1, 2):
        agreeing = range(min(radius, bits - distance) + 1)
        up_to = list(accumulate(math.comb(bits - distance, b) for b in agreeing))
        shared = sum(
            math.comb(distance, a) * up_to[min(radius - max(a, distance - a), len(up_to) - 1)]
            for a in range(max(0, distance - radius), min(distance, radius) + 1)
        )
        logs.append(math.log(shared))
    return tuple(one - logs[0] for one in logs)
