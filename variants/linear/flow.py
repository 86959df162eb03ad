"""Flow attention: linear attention in which the flow into queries and out of keys is conserved."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention, State, read_decoding_context
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32
from cab.registry import register_variant
from cab.variants.linear._features import hide, padded_keys
from cab.variants.linear._prefix_softmax import NOTHING


class Flows(NamedTuple):
    """The decode state: sums of phi(k), phi(q), phi(k) / O and phi(q) / I over the tokens so far.

    Then the log of the sum of exp(competition), the sum of phi(k) v^T, and the number of tokens.
    """

    sums: Float[Tensor, "B H 4 E"]
    log_total: Float[Tensor, "B H 1 1"]
    values: Float[Tensor, "B H E E"]
    count: Float[Tensor, "B 1"]


@register_variant(
    name="flow",
    family="linear",
    patterns="ns cs nc",
    extended="nc",
    summary="linear attention with normalised flows, so that keys compete for a fixed total of "
    "weight",
    paper="Flowformer: Linearizing Transformers with Conservation Flows (Wu et al.)",
    year=2022,
    arxiv="2202.06258",
    time="N d^2",
    memory="N d",
    state="E^2 + 4 E + 1 + 1/H",
    published_defaults="sigmoid features, and in the authors' code a clamp at 1; the same here",
    added="2026-11-21",
)
class FlowAttention(MultiHeadAttention):
    r"""Normalise the flow into each query and out of each key, so that keys compete.

    .. math:: I_t = \phi(q_t) \cdot \sum_s \phi(k_s), \quad
              O_s = \phi(k_s) \cdot \sum_t \phi(q_t), \quad
              \hat I_t = \phi(q_t) \cdot \sum_s \frac{\phi(k_s)}{O_s}, \quad
              \hat O_s = \phi(k_s) \cdot \sum_t \frac{\phi(q_t)}{I_t}

    .. math:: o_t = \mathrm{sigmoid}(\hat I_t \tfrac{N}{M}) \frac{\phi(q_t)}{I_t} \cdot
              \sum_s \phi(k_s) \, M \, \mathrm{softmax}_s(\hat O_s) \, v_s

    over N unpadded queries and M unpadded keys, with :math:`\phi` the sigmoid plus 1e-6. In CS
    each sum runs up to its own token: I, O and the sums of their reciprocals are divided by the
    tokens so far, and key s competes with those before it, as in the authors' code. As there,
    :math:`\hat O` is cut off at `clamp` before the softmax, which the paper's formula leaves out.
    :math:`\hat O` is 1 on average, so a good part of the keys is cut off. Other queries enter it,
    so there is no form for CC.
    """

    @dataclass(frozen=True)
    class Config:
        """clamp: the largest O^ that a key competes with, 0 for none.

        chunk: tokens per chunk of the causal form; it changes the cost, not the result.
        """

        clamp: float = 1.0
        chunk: int = 64

        def __post_init__(self) -> None:
            if self.chunk < 1 or self.clamp < 0:
                raise ValueError("chunk must be at least 1 and clamp at least 0")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 if all keys are padded."""
        absent_keys = padded_keys(k, key_padding_mask)
        absent_queries = padded_keys(q, None) if self.pattern.cross else absent_keys
        mix = self._attend_causally if self.pattern.causal else self._attend
        return at_least_float32(mix)(q, k, v, absent_queries, absent_keys)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        absent_queries: Bool[Tensor, "B N"],
        absent_keys: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B H N E"]:
        queries, keys = hide(_features(q), absent_queries), hide(_features(k), absent_keys)
        many_queries, many_keys = (
            (~absent).sum(dim=1)[:, None, None, None].to(q.dtype)
            for absent in (absent_queries, absent_keys)
        )
        into = _reciprocal(_dot(queries, keys.sum(dim=2, keepdim=True)))
        out_of = _reciprocal(_dot(keys, queries.sum(dim=2, keepdim=True)))
        allotted = _dot(queries, (keys * out_of).sum(dim=2, keepdim=True))
        competing = self._clamped(_dot(keys, (queries * into).sum(dim=2, keepdim=True)))
        share = hide(competing, absent_keys, NOTHING).softmax(dim=2) * many_keys
        ratio = many_queries / many_keys.clamp(min=1)
        return (allotted * ratio).sigmoid() * (queries * into @ (keys.mT @ (v * share)))

    def _clamped(self, competing: Float[Tensor, "B H M 1"]) -> Float[Tensor, "B H M 1"]:
        return competing.clamp(max=self.config.clamp) if self.config.clamp else competing

    def _attend_causally(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        absent_queries: Bool[Tensor, "B N"],
        absent_keys: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B H N E"]:
        queries, keys = _features(q), _features(k)
        sent, offered = hide(queries, absent_queries), hide(keys, absent_keys)
        count = (~absent_keys).cumsum(dim=1).clamp(min=1)[:, None, :, None].to(q.dtype)
        into = _reciprocal(_dot(queries, offered.cumsum(dim=2))) * count
        out_of = _reciprocal(_dot(keys, sent.cumsum(dim=2))) * count
        allotted = _dot(queries, (offered * out_of).cumsum(dim=2)) / count
        competing = self._clamped(_dot(keys, (sent * into).cumsum(dim=2)) / count)
        log_total = hide(competing, absent_keys, NOTHING).logcumsumexp(dim=2)
        share = hide(competing - log_total, absent_keys, NOTHING).exp() * count
        sums = causal_linear_attention(queries * into, offered, v * share, self.config.chunk)
        return allotted.sigmoid() * sums / count

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Flows:
        """Return empty sums. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        weight = _widened(self.key.weight)
        size = batch, self.heads
        log_total = weight.new_full((*size, 1, 1), NOTHING)
        sums = weight.new_zeros(*size, 4, self.head_width)
        values = weight.new_zeros(*size, self.head_width, self.head_width)
        return Flows(sums, log_total, values, weight.new_zeros(batch, 1))

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Let the token's flows in, then answer it. See `Attention.step`."""
        q, k, v = (
            _widened(self.split_heads(read(x[:, None])))
            for read in (self.query, self.key, self.value)
        )
        queries, keys = _features(q), _features(k)
        key_sum, query_sum, offered_sum, sent_sum = state.sums.split(1, dim=2)
        count = state.count + 1
        tokens = count[:, :, None, None]
        key_sum, query_sum = key_sum + keys, query_sum + queries
        into = _reciprocal(_dot(queries, key_sum)) * tokens
        out_of = _reciprocal(_dot(keys, query_sum)) * tokens
        offered_sum, sent_sum = offered_sum + keys * out_of, sent_sum + queries * into
        allotted = _dot(queries, offered_sum) / tokens
        competing = self._clamped(_dot(keys, sent_sum) / tokens)
        log_total = torch.logaddexp(state.log_total, competing)
        values = state.values + keys.mT @ (v * (competing - log_total).exp() * tokens)
        mixed = allotted.sigmoid() * (queries * into @ values) / tokens
        sums = torch.cat((key_sum, query_sum, offered_sum, sent_sum), dim=2)
        y = self.output(self.merge_heads(mixed).to(x.dtype))[:, 0]
        return y, Flows(sums, log_total, values, count)


def _widened(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _features(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    return x.sigmoid() + 1e-6


def _dot(x: Float[Tensor, "B H N E"], y: Float[Tensor, "B H #N E"]) -> Float[Tensor, "B H N 1"]:
    return (x * y).sum(dim=-1, keepdim=True)


def _reciprocal(x: Float[Tensor, "B H N 1"]) -> Float[Tensor, "B H N 1"]:
    """Return 1 / x; where nothing flows x is 0, and so is all that it would be multiplied with."""
    return 1 / x.masked_fill(x == 0, 1.0)
