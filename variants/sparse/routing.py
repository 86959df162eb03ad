"""Routing attention: queries attend to keys of the same cluster, by online k-means."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, distributed

from cab.attention import Geometry
from cab.decoding import CachedAttention, KeyValueCache
from cab.kernels.linear.precision import in_float32
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, padding_of
from cab.variants.sparse._by_label import (
    from_slots,
    see,
    seen_by_last,
    sort_into_groups,
    to_slots,
    with_previous,
)


@register_variant(
    name="routing",
    family="sparse",
    patterns="ns cs",
    extended="cs",
    summary="softmax between the queries and keys that are nearest to the same k-means centroid",
    paper="Efficient Content-Based Sparse Attention with Routing Transformers (Roy et al.)",
    year=2020,
    arxiv="2003.05997",
    time="N clusters d + causal N chunk d + (1 - causal) N^2 d / clusters",
    memory="N clusters + causal N chunk + (1 - causal) N^2 / clusters",
    state="2 M E",
    sees="chosen",
    published_defaults="sqrt(N) clusters of N / clusters tokens, decay 0.999, weight 1e-4, half "
    "of the heads local; here 8 clusters, all heads route, and in cs each token joins its nearest "
    "cluster, in chunks of 16 tokens, an eighth of 128",
    added="2026-11-21",
)
class RoutingAttention(CachedAttention):
    r"""Softmax within clusters; queries and keys are layer-normed, without scale and bias.

    .. math:: a_c = \operatorname{top-}w_t (q_t \cdot \mu_c), \quad
              b_c = \operatorname{top-}w_s (k_s \cdot \mu_c), \quad w = \lceil n / C \rceil, \quad
              o^c_t = \sum_{s \in b_c} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    for t in :math:`a_c`, and o is the mean over the clusters that took t, 0 if none did. n counts
    the unpadded tokens. In training each centroid moves towards its nearest queries and keys,

    .. math:: \mu_c \leftarrow \lambda \mu_c + (1 - \lambda) \operatorname{mean}
              \{x : \arg\max_{c'} x \cdot \mu_{c'} = c\},

    after the optimiser's step, and these tokens towards it by the auxiliary loss
    :math:`\beta \lVert x - \mu_c \rVert^2 / E`. The paper adds sums, whose size is the batch's.

    Whether a cluster takes token t depends on the later tokens it could take instead. So in CS,
    where keys are the queries (as in the paper), each token belongs to its nearest centroid; the
    tokens of a cluster, in order, are cut into chunks and see their chunk and the one before. The
    length of chunks is a setting: w would depend on how many tokens are still to come. The paper
    gives half of the heads to local attention; here all heads route, so that in NS a token that no
    cluster takes gets 0 from a head.
    """

    @dataclass(frozen=True)
    class Config:
        """decay is :math:`\\lambda`, commitment :math:`\\beta`, clusters C, chunk w in CS."""

        clusters: int = 8
        chunk: int = 16
        decay: float = 0.999
        commitment: float = 1e-4

        def __post_init__(self) -> None:
            if min(self.clusters, self.chunk) < 1:
                raise ValueError("clusters and chunk must be at least 1")
            if not 0 <= self.decay <= 1 or self.commitment < 0:
                raise ValueError("decay must be between 0 and 1 and commitment at least 0")

    config: Config
    centroids: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        if self.pattern.causal:
            self.key = self.query
        centroids = torch.randn(self.heads, self.config.clusters, self.head_width)
        self.register_buffer("centroids", _normalise(centroids))
        self._read: tuple[Tensor, Tensor] | None = None

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; in training, note what `after_step` moves the centroids by."""
        q, k, absent = _normalise(q), _normalise(k), padding_of(k, key_padding_mask)
        mix = self._attend_clusters if self.pattern.causal else self._attend_balanced_clusters
        out = mix(q / self.head_width**0.5, k, v, absent)
        if self.training:
            self._note((k,) if self.pattern.causal else (q, k), ~absent)
        return out

    def _attend_balanced_clusters(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Float[Tensor, "B H N E"]:
        clusters, length = self.config.clusters, q.shape[2]
        width = -(-length // clusters)
        taken, read = (self._take(x, absent, width) for x in (q, k))
        # Rows that padding makes shorter take fewer.
        widths = -(-(~absent).sum(dim=-1) // clusters)
        left = torch.arange(width, device=q.device) >= widths[..., None, None]  # (B, 1, 1, w)
        queries, keys, values = (_gather(x, i) for x, i in ((q, taken), (k, read), (v, read)))
        mixed = attend_visible(queries, keys, values, left[..., None, :])
        mixed = mixed.masked_fill(left[..., None], 0.0).flatten(2, 3)
        index = taken.flatten(2)
        times = torch.zeros_like(q[..., 0])
        times = times.scatter_add(2, index, (~left).expand_as(taken).flatten(2).to(q.dtype))
        total = torch.zeros_like(v).scatter_add(2, index[..., None].expand_as(mixed), mixed)
        return total / times.clamp(min=1)[..., None]

    def _take(
        self, x: Float[Tensor, "B H N E"], absent: Bool[Tensor, "B 1 N"], width: int
    ) -> Int[Tensor, "B H C w"]:
        nearness = self._nearness(x).mT.masked_fill(absent[:, :, None], -torch.inf)
        return nearness.topk(width, dim=-1).indices

    def _attend_clusters(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Float[Tensor, "B H N E"]:
        labels = self._nearness(k).argmax(dim=-1).masked_fill(absent, self.config.clusters)
        chunk = min(self.config.chunk, k.shape[2])
        groups = sort_into_groups(labels, self.config.clusters + 1, chunk)
        home = groups.home[..., None]
        queries, here = to_slots(q, groups), to_slots(home, groups)
        keys, values, there = (with_previous(to_slots(x, groups)) for x in (k, v, home))
        t = groups.token[..., None]
        s = with_previous(t, fill=k.shape[2]).mT
        hidden = ~see(here[..., 0], there[..., 0]) | (s > t)
        return from_slots(attend_visible(queries, keys, values, hidden), groups)

    def recall(
        self, q: Float[Tensor, "B H 1 E"], state: KeyValueCache
    ) -> Float[Tensor, "B H 1 E"]:
        """Attend to the cached tokens of the newest token's chunks."""
        q, k = _normalise(q), _normalise(state.k)
        visible = seen_by_last(self._nearness(k).argmax(dim=-1), self.config.chunk)
        return attend_visible(q / self.head_width**0.5, k, state.v, ~visible[:, :, None])

    @torch.no_grad()
    def _nearness(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N C"]:
        return x @ self.centroids.mT

    def _note(
        self, streams: tuple[Float[Tensor, "B H N E"], ...], present: Bool[Tensor, "B 1 N"]
    ) -> None:
        x = torch.cat(streams, dim=2)
        present = torch.cat([present] * len(streams), dim=2)[..., None]
        label = self._nearness(x).argmax(dim=-1, keepdim=True)
        nearest = self.centroids.expand(len(x), -1, -1, -1).gather(
            2, label.expand(-1, -1, -1, x.shape[3])
        )
        error = (x - nearest).square().masked_fill(~present, 0.0).mean(dim=-1).sum()
        tokens = present.sum().clamp(min=1) * self.heads
        self.keep_auxiliary_loss(self.config.commitment * error / tokens)
        sums, counts = _totals(x.detach(), label, present, self.config.clusters)
        if self._read is not None:
            sums, counts = sums + self._read[0], counts + self._read[1]
        self._read = sums, counts

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the centroids towards the means of the tokens read since the last step.

        All tokens of a step may be read twice, as under activation checkpointing: the means stay.
        Where several processes train, their tokens count together.
        """
        if self._read is None:
            return
        sums, counts = self._read
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
            distributed.all_reduce(counts)
        means = torch.where(counts > 0, sums / counts.clamp(min=1), self.centroids)
        self.centroids.lerp_(means.to(self.centroids.dtype), 1 - self.config.decay)
        self._read = None


@in_float32
def _totals(
    x: Float[Tensor, "B H N E"],
    label: Int[Tensor, "B H N 1"],
    present: Bool[Tensor, "B 1 N 1"],
    clusters: int,
) -> tuple[Float[Tensor, "H C E"], Float[Tensor, "H C 1"]]:
    """The sum of each cluster's tokens, and how many it has."""
    members = torch.zeros_like(x[..., :1]).expand(-1, -1, -1, clusters)
    members = members.scatter(3, label, 1.0) * present
    return torch.einsum("bhnc, bhne -> hce", members, x), members.sum(dim=(0, 2))[..., None]


def _normalise(x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
    return F.layer_norm(x, x.shape[-1:])


def _gather(
    x: Float[Tensor, "B H N E"], index: Int[Tensor, "B H C w"]
) -> Float[Tensor, "B H C w E"]:
    flat = index.flatten(2)[..., None].expand(-1, -1, -1, x.shape[-1])
    return x.gather(2, flat).unflatten(2, index.shape[2:])
