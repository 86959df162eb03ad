"""Multi-token attention: weights depend on neighbouring queries, keys and heads."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import DecodingAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import hidden_pairs, masked_softmax


class MultiTokenState(NamedTuple):
    """All keys and values, and the last queries that the kernel still reaches."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    q: Float[Tensor, "B H C E"]


@register_variant(
    name="multi-token",
    family="softmax",
    patterns="ns cs",
    extended="ns",
    summary="softmax attention with scores convolved over queries and keys, and weights over "
    "heads",
    paper="Multi-Token Attention (Golovneva, Wang, Weston, Sukhbaatar)",
    year=2025,
    arxiv="2504.00927",
    padding="distance",
    time="N^2 (d + H query_kernel key_kernel)",
    memory="N^2",
    state="2 M E + (query_kernel - 1) E",
    published_defaults="kernel of 6 queries by 11 keys before the softmax, 2 heads after it; the "
    "same here, since neighbourhoods of words do not depend on the length",
    added="2026-11-21",
)
class MultiTokenAttention(DecodingAttention):
    r"""Convolve scores within a head, then mix weights within groups of heads.

    .. math:: a_{ts} = q_t \cdot k_s / \sqrt{E}, \quad
              \hat a_{ts} = \sum_{i, j} \theta_{ij} \, \mathrm{Mask}_0(a)_{t-i, s-j}, \quad
              A^h = \sum_{g} w_{hg} \, \mathrm{softmax}(\mathrm{Mask}_{-\infty}(\hat a^g)), \quad
              y_t^h = G(\sum_s A_{ts}^h v_s^h)

    The kernel reaches queries from t - c_q + 1 up to t and keys c_k / 2 to each side; heads g
    are the c_h of the group of h. Hidden pairs, padding and in CS the future, are 0 before the
    convolution, so that nothing hidden is carried to a visible place, and hidden again after it.
    G divides by the root mean square of a head's output and opens a gate
    :math:`\sigma(u \cdot o + b)`. Kernels start as unit impulses, which without G is softmax.

    In NS, which the paper does not have, queries are looked at on both sides, as keys are. Groups
    take the largest divisor of the heads up to c_h. The paper convolves in every fourth layer
    only, and mixes heads in all; here all layers do both.
    """

    @dataclass(frozen=True)
    class Config:
        """Kernel sizes over queries, keys and heads; normalise: whether G is applied."""

        query_kernel: int = 6
        key_kernel: int = 11
        head_kernel: int = 2
        normalise: bool = True

        def __post_init__(self) -> None:
            if min(self.query_kernel, self.key_kernel, self.head_kernel) < 1:
                raise ValueError("query_kernel, key_kernel and head_kernel must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        rows, columns = self.config.query_kernel, self.config.key_kernel
        causal = self.pattern == Pattern.CS
        # How far the kernel reaches, for its padding: (keys before, after, queries before, after).
        before = rows - 1 if causal else rows // 2
        self.reach = (columns // 2, (columns - 1) // 2, before, rows - 1 - before)
        kernel = torch.zeros(self.heads, 1, rows, columns)
        kernel[:, :, before, columns // 2] = 1.0
        self.score_kernel = nn.Parameter(kernel)
        group = next(n for n in range(self.config.head_kernel, 0, -1) if self.heads % n == 0)
        self.head_kernel = nn.Parameter(torch.eye(group).repeat(self.heads // group, 1, 1))
        if self.config.normalise:
            self.scale = nn.Parameter(torch.ones(self.head_width))
            self.gate = nn.Linear(self.head_width, 1)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return y. In CS the queries are the last N of the M positions; those before are 0."""
        hidden = hidden_pairs(
            q, k, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )
        scores = ((q / self.head_width**0.5) @ k.mT).masked_fill(hidden, 0.0)
        scores = F.conv2d(F.pad(scores, self.reach), self.score_kernel, groups=self.heads)
        groups = masked_softmax(scores, hidden).unflatten(1, self.head_kernel.shape[:2])
        weights = torch.einsum("ghi,bgits->bghts", self.head_kernel, groups).flatten(1, 2)
        out = weights @ v
        if self.config.normalise:
            out = F.rms_norm(out, out.shape[-1:], eps=1e-5) * self.scale
            out = out * self.gate(out).sigmoid()
        return out

    def absorb(
        self,
        state: MultiTokenState | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> MultiTokenState:
        """Append keys and values; before the first query those of the kernel are 0."""
        if state is None:
            q = k.new_zeros(*k.shape[:2], self.config.query_kernel - 1, k.shape[3])
            return MultiTokenState(k, v, q)
        return MultiTokenState(
            torch.cat((state.k, k), dim=2), torch.cat((state.v, v), dim=2), state.q
        )

    def step(
        self, x: Float[Tensor, "B D"], state: MultiTokenState
    ) -> tuple[Float[Tensor, "B D"], MultiTokenState]:
        """Attend with the queries that the kernel reaches and keep the answer of the last."""
        token = x[:, None]
        q, k, v = (self.split_heads(read(token)) for read in (self.query, self.key, self.value))
        state = self.absorb(state, k, v)
        queries = torch.cat((state.q, q), dim=2)
        mixed = self.attend(queries, state.k, state.v)[:, :, -1:]
        state = state._replace(q=queries[:, :, 1:])
        return self.output(self.merge_heads(mixed))[:, 0], state
