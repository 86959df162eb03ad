"""ABC: attention to a memory of fixed size, written with learned weights over time."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.decoding import DecodingAttention
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scan import in_chunks, states_before
from cab.kernels.linear.vector_decay import fitting_chunk, vector_decay_attention
from cab.registry import register_variant
from cab.variants.linear._prefix_softmax import Prefix, SoftmaxSum, prefix_softmax, softmax_sum


@register_variant(
    name="abc",
    family="linear",
    patterns="ns cs nc cc",
    extended="nc",
    summary="softmax attention to a few slots, each a learned weighted mean of the tokens",
    paper="ABC: Attention with Bounded-memory Control (Peng et al.)",
    year=2021,
    arxiv="2110.02488",
    time="N slots d",
    memory="N slots H",
    state="slots (2 E + 1)",
    published_defaults="32 and 64 slots for 512 tokens; here 16, an eighth of 128",
    added="2026-11-21",
)
class AbcAttention(DecodingAttention):
    r"""Write keys and values into n slots by softmax over time, and attend to the slots.

    .. math:: \tilde k_{tj} = \sum_{s \in V_t} \frac{e^{a_{sj}}}{\sum_{u \in V_t} e^{a_{uj}}} k_s,
              \quad a_s = W k_s, \quad
              o_t = \sum_j \mathrm{softmax}_j(q_t \cdot \tilde k_{tj} / \sqrt{E}) \tilde v_{tj}

    and :math:`\tilde v` likewise (the paper's ABC-MLP). W is of each head and reads the head's
    key, where the paper's reads the token. In CS the slots at t hold the tokens up to t.
    """

    @dataclass(frozen=True)
    class Config:
        """slots: of the memory of each head."""

        slots: int = 16

        def __post_init__(self) -> None:
            if self.slots < 2:
                raise ValueError("slots must be at least 2, or no query could choose")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        shape = self.heads, self.head_width, self.config.slots
        self.control = nn.Parameter(torch.randn(shape) / self.head_width**0.5)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(q, k, v, key_padding_mask)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H N E"]:
        if self.pattern.cross or not self.pattern.causal:
            return self.recall(q, self.absorb(None, k, v, key_padding_mask))
        prefix = prefix_softmax(k @ self.control.to(k.dtype), key_padding_mask)
        scores = _slot_scores(q / self.head_width**0.5, k, prefix)
        return vector_decay_attention(scores.softmax(dim=-1), prefix.weight, v, prefix.log_decay)

    def absorb(
        self,
        state: SoftmaxSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> SoftmaxSum:
        """Write keys and values, side by side, into the slots."""
        pairs = torch.cat((k, v), dim=-1)
        return softmax_sum(k @ self.control.to(k.dtype), pairs, key_padding_mask, state)

    def recall(self, q: Float[Tensor, "B H N E"], state: SoftmaxSum) -> Float[Tensor, "B H N E"]:
        """Attend to the slots."""
        return at_least_float32(self._recall)(q, state)

    def _recall(self, q: Float[Tensor, "B H N E"], state: SoftmaxSum) -> Float[Tensor, "B H N E"]:
        slot_keys, slot_values = state.mean.chunk(2, dim=-1)
        return (q / self.head_width**0.5 @ slot_keys.mT).softmax(dim=-1) @ slot_values


def _slot_scores(
    q: Float[Tensor, "B H N E"], k: Float[Tensor, "B H N E"], prefix: Prefix, chunk: int = 32
) -> Float[Tensor, "B H N J"]:
    """Return q_t . k~_tj = sum_{s <= t} (q_t . k_s) weight_sj exp(G_tj - G_sj), G = sum of decays.

    As in `vector_decay_attention`, a later half of a chunk meets the earlier one through the
    moment between them, so that no exponential exceeds 1.
    """
    length = q.shape[2]
    chunk = fitting_chunk(chunk, length)
    q, k, weight, log_decay = (
        in_chunks(x, chunk) for x in (q, k, prefix.weight, prefix.log_decay)
    )
    since_start = log_decay.cumsum(dim=3)
    total = since_start[..., -1:, :]
    slots = (weight * (total - since_start).exp()).mT @ k
    before = states_before(total.exp().mT, slots, torch.mul)
    scores = (q * k).sum(dim=-1, keepdim=True) * weight + since_start.exp() * (q @ before.mT)
    half = 1
    while half < chunk:
        blocks = (-1, 2, half)
        earlier_sum, later_sum = since_start.unflatten(3, blocks).unbind(4)
        middle = earlier_sum[..., -1:, :]
        products = q.unflatten(3, blocks)[..., 1, :, :] @ k.unflatten(3, blocks)[..., 0, :, :].mT
        weights = weight.unflatten(3, blocks)[..., 0, :, :] * (middle - earlier_sum).exp()
        across = (products @ weights) * (later_sum - middle).exp()
        scores = scores + torch.stack((torch.zeros_like(across), across), dim=4).flatten(3, 5)
        half *= 2
    return scores.flatten(2, 3)[:, :, :length]
