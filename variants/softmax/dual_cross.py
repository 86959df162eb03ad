"""Dual cross attention: pooled tokens query the context, and the stream reads both."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, State, read_decoding_context, read_source
from cab.registry import register_variant
from cab.variants.softmax._masked import softmax_attention


class PooledContext(NamedTuple):
    """The decode state: keys and values of the context and of its refined pooled tokens."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    padded: Bool[Tensor, "B M"]
    pooled_k: Float[Tensor, "B H P E"]
    pooled_v: Float[Tensor, "B H P E"]
    absent: Bool[Tensor, "B P"]


@register_variant(
    name="dual-cross",
    family="softmax",
    patterns="nc cc",
    extended="cc",
    summary="pooled tokens of the context query the context; the stream reads them and, through "
    "a gate, the context",
    paper="CrossLMM: Decoupling Long Video Sequences from LMMs via Dual Cross-Attention "
    "Mechanisms (Yan et al.)",
    year=2025,
    arxiv="2505.17020",
    time="(N + min(pooled, M)) M d",
    memory="(N + min(pooled, M)) M H",
    state="2 (M + min(pooled, M)) E",
    published_defaults="9 pooled tokens for a frame of 729, squares pooled, projections of their "
    "own for each of three attentions; here 16 pooled tokens, runs pooled, projections shared",
    added="2026-11-30",
)
class DualCrossAttention(MultiHeadAttention):
    r"""Refine pooled tokens by the context they stand for, then read them and the context.

    .. math:: p' = p + \gamma_v W_o A(p, z), \quad
              y_t = W_o \left(A(x_t, p') + \gamma_x A(x_t, z)\right)

    .. math:: A(a, b) = \sum_s \mathrm{softmax}_s\left((W_q a) \cdot (W_k b_s) / \sqrt{E}\right)
              W_v b_s

    in each of the heads. z is the context (M tokens without padding), p the means of P runs of it,
    and :math:`\gamma = \tanh g` are two learned gates. A(p, z) is the paper's visual-to-visual
    attention and A(x, z) its text-to-visual attention; A(x, p') stands for the pooled tokens'
    part in the language model's self attention, which reads them only in the next layer. Two
    streams that go on to the next layer are not in the contract, so that each layer pools the
    context anew. Work grows with (N + P) M. Projections are shared, for the size of softmax's
    layer, and gates start at 1/2 and not at 0, as no trained model is to be preserved. The paper
    pools squares of a picture. Tokens of the stream do not read each other, so CC needs no mask.
    """

    @dataclass(frozen=True)
    class Config:
        """pooled: P, how many tokens a longer context is pooled to."""

        pooled: int = 16

        def __post_init__(self) -> None:
            if self.pooled < 1:
                raise ValueError("pooled must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.gates = nn.Parameter(torch.full((2,), 0.5).atanh())

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Pool and refine the context, then read it. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        return self._read(x, self._refine(source, key_padding_mask))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> State:
        """Return the context's keys and values, and the pooled ones. See `Attention`."""
        source = read_decoding_context(self.pattern, context, key_padding_mask)
        assert source is not None
        return self._refine(source, key_padding_mask)

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Read the state with one token. See `Attention.step`."""
        return self._read(x[:, None], state)[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: State
    ) -> tuple[Float[Tensor, "B N D"], State]:
        """Read the state with several tokens at once. See `Attention.prefill`."""
        return self._read(x, state), state

    def _refine(
        self, source: Float[Tensor, "B M D"], key_padding_mask: Bool[Tensor, "B M"] | None
    ) -> PooledContext:
        padded = key_padding_mask
        if padded is None:
            padded = torch.zeros(source.shape[:2], dtype=torch.bool, device=source.device)
        k, v = self.split_heads(self.key(source)), self.split_heads(self.value(source))
        pooled, absent = _pool(source, padded, self.config.pooled)
        q = self.split_heads(self.query(pooled))
        fine = softmax_attention(q, k, v, causal=False, key_padding_mask=padded)
        pooled = pooled + self.gates[0].tanh() * self.output(self.merge_heads(fine))
        pooled_k, pooled_v = (self.split_heads(f(pooled)) for f in (self.key, self.value))
        return PooledContext(k, v, padded, pooled_k, pooled_v, absent)

    def _read(self, x: Float[Tensor, "B N D"], state: PooledContext) -> Float[Tensor, "B N D"]:
        q = self.split_heads(self.query(x))
        coarse = softmax_attention(
            q, state.pooled_k, state.pooled_v, causal=False, key_padding_mask=state.absent
        )
        fine = softmax_attention(q, state.k, state.v, causal=False, key_padding_mask=state.padded)
        return self.output(self.merge_heads(coarse + self.gates[1].tanh() * fine))


def _pool(
    source: Float[Tensor, "B M D"], padded: Bool[Tensor, "B M"], count: int
) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"]]:
    """Return means of at most `count` runs of unpadded tokens, and which of them a row lacks."""
    kept = ~padded
    total, rank = kept.sum(dim=1, keepdim=True), kept.cumsum(dim=1) - 1
    count = min(count, source.shape[1])
    run = rank * total.clamp(max=count) // total.clamp(min=1)
    member = run[:, None] == torch.arange(count, device=source.device)[:, None]
    member = (member & kept[:, None]).to(source.dtype)
    size = member.sum(dim=2, keepdim=True)
    return member @ source / size.clamp(min=1), size[..., 0] == 0
