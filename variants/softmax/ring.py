"""Ring attention: softmax attention over a sequence split over the ranks of a process group."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from cab.decoding import CachedAttention
from cab.errors import Unsupported
from cab.kernels.softmax.chunked import chunked_softmax
from cab.registry import register_variant
from cab.variants.softmax._ring import Ring, RingSoftmax


@register_variant(
    name="ring",
    family="softmax",
    patterns="ns cs nc cc",
    summary="softmax attention on a sequence split over ranks, which pass on their keys and "
    "values",
    paper="Ring Attention with Blockwise Transformers for Near-Infinite Context (Liu, Zaharia, "
    "Abbeel)",
    year=2023,
    arxiv="2310.01889",
    time="N^2 d",
    memory="4 N d + query_chunk key_chunk H",
    state="2 M E",
    exact=True,
    role="reimplementation",
    extended="nc cc",
    published_defaults="one block per device; the chunks within a block are those of blockwise "
    "attention",
    added="2026-11-21",
)
class RingAttention(CachedAttention):
    r"""The formula of `softmax`, with the sequence cut into P blocks, one per rank.

    Rank r holds the queries, keys and values of block r. In turn i of P it attends to the keys of
    block :math:`j = (r - i) \bmod P`, with the running sums of blockwise attention,

    .. math:: n \leftarrow n e^{m - m'} + \sum_{s \in j} e^{x_s - m'} v_s, \quad
              z \leftarrow z e^{m - m'} + \sum_{s \in j} e^{x_s - m'}, \quad o = n / z

    while it sends them to rank r + 1 and takes those of rank r - 1. Backward goes round once more,
    and each block's gradients travel with it. Blocks may differ in length. `share` names the
    group; without one there is one rank, and this is `chunked`. Data parallel ranks are no ring.
    """

    @dataclass(frozen=True)
    class Config:
        """Chunk lengths in tokens, within a block."""

        query_chunk: int = 128
        key_chunk: int = 128

        def __post_init__(self) -> None:
            if min(self.query_chunk, self.key_chunk) < 1:
                raise ValueError("query_chunk and key_chunk must be at least 1")

    config: Config
    group: distributed.ProcessGroup | None = None

    def share(self, group: distributed.ProcessGroup | None) -> None:
        """Share every sequence with the ranks of a group; each gives its own block of it."""
        self.group = group

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o of this rank's queries. In CS alone the queries are the last N of the M."""
        causal = self.pattern.causal and not self.pattern.cross
        if self.group is None:
            return chunked_softmax(
                *(q, k, v),
                causal=causal,
                offset=k.shape[2] - q.shape[2],
                key_padding_mask=key_padding_mask,
                query_chunk=self.config.query_chunk,
                key_chunk=self.config.key_chunk,
            )
        if causal and q.shape[2] != k.shape[2]:
            raise Unsupported("ring decodes on one rank alone, not over a group.")
        wide = torch.promote_types(q.dtype, torch.float32)
        padded = k.new_zeros(k.shape[0], k.shape[2], dtype=torch.uint8)
        if key_padding_mask is not None:
            padded = key_padding_mask.to(torch.uint8)
        out = RingSoftmax.apply(
            *(x.to(wide) for x in (q, k, v)),
            padded[:, None, :, None],
            self._ring(self.group, q.shape[2], k.shape[2], causal),
        )
        return out.to(q.dtype)

    def _ring(
        self, group: distributed.ProcessGroup, queries: int, keys: int, causal: bool
    ) -> Ring:
        own = torch.tensor([queries, keys], device=self.query.weight.device)
        every = [torch.empty_like(own) for _ in range(group.size())]
        distributed.all_gather(every, own, group=group)
        lengths = [one.tolist() for one in every]
        return Ring(
            group,
            group.rank(),
            tuple(one[0] for one in lengths),
            tuple(one[1] for one in lengths),
            causal,
            self.config.query_chunk,
            self.config.key_chunk,
        )
