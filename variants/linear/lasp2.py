"""LASP-2: linear attention over a sequence that is split over the ranks of a process group."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from cab.decoding import DecodingAttention
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import elu_plus_one, hide, normalise, with_ones


class KeyValueSum(NamedTuple):
    """The decode state: sum of phi(k) [v, 1]^T, of E (E + 1) elements per head."""

    total: Float[Tensor, "B H E F"]


@register_variant(
    name="lasp2",
    family="linear",
    patterns="ns cs",
    summary="linear attention on a sequence split over ranks, each of which shares one state",
    paper="LASP-2: Rethinking Sequence Parallelism for Linear Attention and Its Hybrid "
    "(Sun et al.)",
    year=2025,
    arxiv="2502.07563",
    time="N d^2",
    memory="N d",
    state="E (E + 1)",
    role="equivalent",
    published_defaults="a chunk of the sequence per device; no feature map and no normaliser in "
    "the plain form, here those of linear",
    added="2026-11-21",
)
class Lasp2Attention(DecodingAttention):
    r"""Rank t of T holds chunk t of the sequence and sums its keys and values into one state,

    .. math:: M_t = \phi(K_t)^\top [V_t, 1]

    All states are gathered, in one exchange, and each rank adds up those that it may see:

    .. math:: [n_t, z_t] = \mathrm{tril}(\phi(Q_t) \phi(K_t)^\top) [V_t, 1]
              + \phi(Q_t) \sum_{u < t} M_u, \quad o_t = n_t / z_t

    in CS, and :math:`\phi(Q_t) \sum_u M_u` in NS. Backward gathers these sums' gradients, once
    more, and adds up those of the ranks that see M_t. The size of the exchange does not depend on
    the length. :math:`\phi(x) = \mathrm{elu}(x) + 1`, as in `linear`: the paper's way of sharing
    is one for any linear attention. `share` names the group; without one this is `linear`.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk of the causal form within a rank; it changes the cost alone."""

        chunk: int = 64

        def __post_init__(self) -> None:
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config
    group: distributed.ProcessGroup | None = None

    def share(self, group: distributed.ProcessGroup | None) -> None:
        """Share every sequence with the ranks of a group; each gives its own chunk of it."""
        self.group = group

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o of this rank's queries, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H N E"]:
        queries, keys = elu_plus_one(q), hide(elu_plus_one(k), key_padding_mask)
        values = with_ones(v)
        if not self.pattern.causal:
            state = keys.mT @ values
            if self.group is not None:
                state = GatheredSum.apply(state, self.group, "all")
            return normalise(queries @ state)
        sums = causal_linear_attention(queries, keys, values, self.config.chunk)
        if self.group is not None:
            sums = sums + queries @ GatheredSum.apply(keys.mT @ values, self.group, "before")
        return normalise(sums)

    def absorb(
        self,
        state: KeyValueSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueSum:
        """Add the keys' and values' outer products."""
        total = hide(elu_plus_one(k), key_padding_mask).mT @ with_ones(v)
        return KeyValueSum(total if state is None else state.total + total)

    def recall(self, q: Float[Tensor, "B H 1 E"], state: KeyValueSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with one query."""
        return normalise(elu_plus_one(q) @ state.total)


class GatheredSum(torch.autograd.Function):
    """The sum of the states of all ranks, of those before this one, or of those after it."""

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, group: distributed.ProcessGroup, ranks: str
    ) -> Float[Tensor, "B H E F"]:
        """Gather the states and add up those of the ranks "all", "before" or "after"."""
        ctx.group, ctx.ranks = group, ranks
        states, own = _gather(state, group), group.rank()
        seen = {"all": states, "before": states[:own], "after": states[own + 1 :]}[ranks]
        return sum(seen, torch.zeros_like(state))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Add up the gradients of the ranks that saw this state; this is differentiable too."""
        saw = {"all": "all", "before": "after", "after": "before"}[ctx.ranks]
        return GatheredSum.apply(grad, ctx.group, saw), None, None


def _gather(own: Tensor, group: distributed.ProcessGroup) -> list[Tensor]:
    """All ranks' tensors, in their order."""
    every = [
        torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(group.size())
    ]
    distributed.all_gather(every, own.contiguous(), group=group)
    return every
