"""SEA: sparse attention to what a linear attention estimates to weigh most."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_decoding_context
from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.registry import register_variant
from cab.variants.sparse._blocks import padding_of, weigh
from cab.variants.sparse._columns import Choice, choose, columns_of


class EstimateState(NamedTuple):
    """The decode state: keys, values, sums of the linear attention, rows of the two maps."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    sums: Float[Tensor, "B H J W"]
    rows: Float[Tensor, "B H 4 K"]


@register_variant(
    name="sea",
    family="sparse",
    patterns="ns cs",
    summary="softmax over the tokens that weigh most in an attention map of fixed width, which "
    "linear attention estimates",
    paper="SEA: Sparse Linear Attention with Estimated Attention Mask (Lee, Kim, Willette, Hwang)",
    year=2023,
    arxiv="2310.01777",
    padding="removed",
    time="N (2 (2 top_k + N / width) d + H features (causal chunk + 4 E) + 18 H^2 width)",
    memory="N (2 top_k + N / width + 1) d + N width H",
    state="2 M E + features (2 E + 1) + 4 width",
    sees="chosen",
    fixed_length=True,
    published_defaults="maps of width 128 or 256 and 7 to 64 tokens per query for up to 2,048 "
    "tokens, maps finer inside and refined by more channels; here 8 tokens, and width 32 for 128",
    added="2026-11-30",
)
class SEAAttention(MultiHeadAttention):
    r"""Estimate the map in K columns, read its best columns token by token, add an average.

    .. math:: c_t = \frac{\sum_s \phi(q_t) \cdot \phi(k_s) [p_s, v_s]}
              {\sum_s \phi(q_t) \cdot \phi(k_s)}, \quad
              z_t = \mathrm{GELU}(\mathrm{LN}(W_1 [c_t, v_t])), \quad
              \hat A_t = \mathrm{softmax}(\mathrm{CNN}(W_2 z)_t)

    .. math:: o_t = \beta_t \alpha_t \sum_{s \in T_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E})
              v_s + (1 - \beta_t) a_t, \quad (\alpha_t, \beta_t) = \sigma(W_3 z_t)

    :math:`\phi` are random features max(0, omega x) + 0.001 and p are positions: random vectors in
    CS (learned in the paper), in NS tents at E equidistant places. Column m of :math:`\hat A_t`
    stands for the tokens s with floor(s K / n) = m of the n that t may see. :math:`T_t` are the
    tokens of the columns with the highest :math:`\hat A`, as many columns as hold about `top_k`
    tokens. The CNN is two 3 x 3 convolutions over queries and columns with a channel per head, in
    CS over the query and the two before it. :math:`a_t` is the mean of the values up to t in CS;
    in NS it is the sum of the columns' mean values, weighed by the mean of :math:`\hat A` over
    queries.

    The estimate takes linear time; a column stands for n / K tokens, so that what a query reads
    grows with n from `top_k` K tokens on. The choice has no gradient. The paper trains the
    estimate to match a trained model's attention; a layer has no teacher, so here an auxiliary
    loss, the divergence KL from its own softmax over :math:`T_t` to :math:`\hat A` there, does.
    The paper's maps are coarser in rows and finer in channels inside the CNN, and it counts the
    chosen columns over all heads together.
    """

    @dataclass(frozen=True)
    class Config:
        """width: columns K. top_k: tokens that a query reads. features: of the estimate.

        chunk: tokens per chunk of its causal form; it changes the cost, not the result.
        """

        width: int = 32
        top_k: int = 8
        features: int = 32
        chunk: int = 64

        def __post_init__(self) -> None:
            if min(self.width, self.top_k, self.features, self.chunk) < 1:
                raise ValueError("width, top_k, features and chunk must be at least 1")

    config: Config
    frequencies: Tensor
    positions: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        size = self.head_width
        self.register_buffer("frequencies", torch.randn(self.config.features, size))
        if self.pattern.causal:
            self.register_buffer("positions", torch.randn(self.max_length, size))
        self.encode = nn.Sequential(nn.Linear(3 * size, size), nn.LayerNorm(size), nn.GELU())
        self.decode = nn.Linear(size, self.config.width)
        self.refine = nn.ModuleList(nn.Conv2d(self.heads, self.heads, 3) for _ in range(2))
        self.scales = nn.Linear(size, 2)

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Put padding last, so that it takes no place among the others, and mix."""
        absent = padding_of(k, key_padding_mask)[:, 0]
        order = absent.to(torch.uint8).argsort(dim=-1, stable=True)
        q, k, v = (_reorder(x, order) for x in (q, k, v))
        mixed = self._mix(q, k, v, (~absent).sum(dim=-1))
        return _reorder(mixed, order.argsort(dim=-1))

    def _mix(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        count: Int[Tensor, " B"],
    ) -> Float[Tensor, "B H N E"]:
        """Return o, 0 where there is nothing but padding."""
        place = torch.arange(q.shape[2], device=q.device)
        present = (place < count[:, None])[:, None, :, None]
        values = torch.cat((self._places(place, count, v), v), dim=-1)
        context = at_least_float32(self._linear)(q, k, values, present)
        z, rows = self._decode(context, v, present)
        for convolve, last in zip(self.refine, (False, True), strict=True):
            rows = convolve(F.pad(rows, (1, 1, 2, 0) if self.pattern.causal else (1, 1, 1, 1)))
            rows = rows if last else rows.relu().masked_fill(~present, 0.0)
        if self.pattern.causal:
            visible = (place + 1).expand(len(q), -1)
            average = _running_mean(v * present)
        else:
            visible = count.clamp(min=1)[:, None].expand(-1, len(place))
        columns = columns_of(rows, visible)
        if not self.pattern.causal:
            share = (columns.log_share.exp() * present).sum(dim=2, keepdim=True)
            share = share / count.clamp(min=1)[:, None, None, None]
            column = (place * self.config.width // visible).clamp(max=self.config.width - 1)
            per_token = share / columns.size[:, None, :1].clamp(min=1)
            index = column[:, None, None].expand(-1, v.shape[1], -1, -1)
            average = (per_token.gather(-1, index) * present.mT) @ v
        choice = choose(columns, visible, self.config.top_k, len(place))
        weights, values = self._read(q, k, v, choice)
        if self.training:
            self._teach(weights, choice, present)
        return self._blend(z, weights, values, average)

    def _places(
        self, place: Int[Tensor, " N"], count: Int[Tensor, " B"], v: Float[Tensor, "B H N E"]
    ) -> Float[Tensor, "B H N E"]:
        """Return p."""
        if self.pattern.causal:
            return self.positions[place.clamp(max=self.max_length - 1)].to(v.dtype).expand_as(v)
        wide = place.to(torch.promote_types(v.dtype, torch.float32))
        along = wide / (count[:, None] - 1).clamp(min=1) * (self.head_width - 1)
        tents = (along[..., None] - torch.arange(self.head_width, device=v.device)).abs()
        return (1 - tents).clamp(min=0)[:, None].to(v.dtype).expand_as(v)

    def _features(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N J"]:
        return (x @ self.frequencies.to(x.dtype).mT / self.head_width**0.5).relu() + 1e-3

    def _linear(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        values: Float[Tensor, "B H N W"],
        present: Bool[Tensor, "B 1 N 1"],
    ) -> Float[Tensor, "B H N W"]:
        """Return c of all queries."""
        asked, read, values = self._features(q), self._features(k) * present, _with_ones(values)
        if self.pattern.causal:
            return _divide(causal_linear_attention(asked, read, values, self.config.chunk))
        return _divide(asked @ (read.mT @ values))

    def _decode(
        self, context: Float[Tensor, "B H N W"], v: Float[Tensor, "B H N E"], present: Tensor
    ) -> tuple[Float[Tensor, "B H N E"], Float[Tensor, "B H N K"]]:
        """Return z, and the rows of the map before the CNN."""
        z = self.encode(torch.cat((context, v), dim=-1))
        return z, self.decode(z).masked_fill(~present, 0.0)

    def _read(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        choice: Choice,
    ) -> tuple[Float[Tensor, "B H N R"], Float[Tensor, "B H N R E"]]:
        """Return the softmax over the chosen tokens, and their values."""
        index = choice.token.flatten(2)[..., None].expand(-1, -1, -1, k.shape[3])
        keys, values = (x.gather(2, index).unflatten(2, choice.token.shape[2:]) for x in (k, v))
        scores = (keys @ (q / self.head_width**0.5)[..., None]).squeeze(-1)
        (weights,) = weigh((scores, choice.hidden))
        return weights, values

    def _blend(
        self, z: Tensor, weights: Tensor, values: Tensor, average: Tensor
    ) -> Float[Tensor, "B H N E"]:
        """Add the answer of the chosen tokens and the average."""
        scale, share = self.scales(z).sigmoid().split(1, dim=-1)
        chosen = (weights[..., None, :] @ values).squeeze(-2)
        return share * scale * chosen + (1 - share) * average

    def _teach(
        self, weights: Float[Tensor, "B H N R"], choice: Choice, present: Bool[Tensor, "B 1 N 1"]
    ) -> None:
        """Keep the divergence of the estimate from the weights, a mean over queries and heads."""
        weights = weights.detach()
        lowest = torch.finfo(choice.log_share.dtype).min
        estimate = choice.log_share.masked_fill(choice.hidden, lowest).log_softmax(dim=-1)
        surprise = weights.clamp(min=torch.finfo(weights.dtype).tiny).log() - estimate
        divergence = (weights * surprise.masked_fill(choice.hidden, 0.0)).sum(dim=-1)
        queries = present.sum().clamp(min=1) * weights.shape[1]
        self.keep_auxiliary_loss((divergence * present[..., 0]).sum() / queries)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> EstimateState:
        """Return empty caches and sums, and maps without rows."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        weight, heads, size = self.key.weight, self.heads, self.head_width
        k = weight.new_zeros(batch, heads, 0, size)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        sums = weight.new_zeros(batch, heads, self.config.features, 2 * size + 1, dtype=dtype)
        return EstimateState(k, k, sums, weight.new_zeros(batch, heads, 4, self.config.width))

    def step(
        self, x: Float[Tensor, "B D"], state: EstimateState
    ) -> tuple[Float[Tensor, "B D"], EstimateState]:
        """Add the token to the sums, estimate one row, read its tokens. See `Attention.step`."""
        q, k, v = (
            self.split_heads(part(x[:, None])) for part in (self.query, self.key, self.value)
        )
        length = state.k.shape[2] + 1
        if length > self.max_length:
            raise ValueError(
                f"sea was built for at most {self.max_length} tokens (max_length), and its state "
                f"has read them. Build it with a larger max_length."
            )
        place = torch.tensor([length - 1], device=x.device)
        values = torch.cat((self._places(place, place.expand(len(x)), v), v), dim=-1)
        sums, context = in_float32(self._add)(q, k, values, state.sums)
        z = self.encode(torch.cat((context.to(v.dtype), v), dim=-1))
        rows = torch.cat((state.rows[:, :, :2], self.decode(z)), dim=2)
        inner = self.refine[0](F.pad(rows, (1, 1))).relu()
        inner = torch.cat((state.rows[:, :, 2:], inner), dim=2)
        keys, stored = torch.cat((state.k, k), dim=2), torch.cat((state.v, v), dim=2)
        visible = torch.full((len(x), 1), length, device=x.device)
        columns = columns_of(self.refine[1](F.pad(inner, (1, 1))), visible)
        choice = choose(columns, visible, self.config.top_k, length)
        weights, read = self._read(q, keys, stored, choice)
        mixed = self._blend(z, weights, read, _running_mean(stored)[:, :, -1:])
        after = EstimateState(keys, stored, sums, torch.cat((rows[:, :, 1:], inner[:, :, 1:]), 2))
        return self.output(self.merge_heads(mixed))[:, 0], after

    def _add(self, q: Tensor, k: Tensor, values: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums with one token more, and c."""
        sums = sums + self._features(k).mT @ _with_ones(values)
        return sums, _divide(self._features(q) @ sums)


def _reorder(x: Float[Tensor, "B H N E"], order: Int[Tensor, "B N"]) -> Float[Tensor, "B H N E"]:
    return x.gather(2, order[:, None, :, None].expand_as(x))


def _with_ones(x: Float[Tensor, "B H N W"]) -> Float[Tensor, "B H N F"]:
    return F.pad(x, (0, 1), value=1.0)


def _divide(sums: Float[Tensor, "B H N F"]) -> Float[Tensor, "B H N W"]:
    """Divide by the last column, which is 0 only where nothing is seen."""
    total = sums[..., -1:]
    return sums[..., :-1] / total.masked_fill(total == 0, 1.0)


@at_least_float32
def _running_mean(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    return x.cumsum(dim=2) / torch.arange(1, x.shape[2] + 1, device=x.device)[:, None]
