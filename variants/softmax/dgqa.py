"""Dynamic grouped-query attention: query heads allotted by norms of keys seen in training."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from cab.attention import Geometry
from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern
from cab.variants.softmax._masked import softmax_attention
from cab.variants.softmax._query_groups import QueryGroups, heads_by_share


@register_variant(
    name="dgqa",
    family="softmax",
    patterns="ns cs nc cc",
    extended="cs nc cc",
    summary="grouped-query attention whose groups are resized in training by moving averages of "
    "key norms",
    paper="Beyond Uniform Query Distribution: Key-Driven Grouped Query Attention (Khan, Khaquan, "
    "Tafveez, Samiwala, Raza)",
    year=2024,
    arxiv="2408.08454",
    time="N M d",
    memory="N M H",
    state="2 M E ceil(H / heads_per_group) / H",
    published_defaults="half as many key heads as query heads, resized every 300 steps; here "
    "groups of 2 query heads, resized every 100 steps of shorter trainings",
    added="2026-11-30",
)
class DynamicGroupedQueryAttention(QueryGroups, CachedAttention):
    r"""Share G key and value heads among H query heads, anew after every w steps of training.

    .. math:: c_g \leftarrow \beta \lVert K_g \rVert_F + (1 - \beta) c_g, \quad
              h_g = \mathrm{round}\left(H c_g / \sum_j c_j\right)

    The first h_1 query heads use the keys and values of group 1, and so on; within a group it is
    softmax attention, in CS over keys up to t, so that work grows with N M. Norms are means over
    the examples since the last update. This is the form with an exponential moving average
    (DGQA-EMA). What rounding leaves over or lacks is taken from or given to the largest group,
    where the authors draw groups at random. Their code also divides the average by w, and goes on
    to update in evaluation; here the sizes are part of the trained model, the same for all
    inputs, which is what makes CS possible. Training starts with equal groups. G is H /
    heads_per_group, rounded up. The paper has NS alone.
    """

    @dataclass(frozen=True)
    class Config:
        """heads_per_group: query heads for each key head, on average. window: w.

        momentum: beta.
        """

        heads_per_group: int = 2
        window: int = 100
        momentum: float = 0.9

        def __post_init__(self) -> None:
            if self.heads_per_group < 1 or self.window < 1:
                raise ValueError("heads_per_group and window must be at least 1")
            if not 0 < self.momentum <= 1:
                raise ValueError("momentum must be above 0 and at most 1")

    config: Config
    average: Tensor
    group_of_head: Tensor
    done: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.register_buffer("average", torch.ones(self.groups))
        self.register_buffer("group_of_head", self.even_groups())
        self.register_buffer("done", torch.zeros((), dtype=torch.long))
        self._read: tuple[Tensor, int] | None = None

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B G M E"],
        v: Float[Tensor, "B G M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        if self.training:
            norms = k.detach().float().norm(dim=(2, 3)).sum(dim=0)  # padded keys are 0
            seen, rows = (0.0, 0) if self._read is None else self._read
            self._read = seen + norms, rows + k.shape[0]
        k, v = k[:, self.group_of_head], v[:, self.group_of_head]
        return softmax_attention(
            q, k, v, causal=self.pattern == Pattern.CS, key_padding_mask=key_padding_mask
        )

    def after_step(self) -> None:
        """Count the step; after each w-th, resize the groups by the norms read since the last.

        Where several processes train, the examples of all count.
        """
        self.done += 1
        if self._read is None or self.done % self.config.window:
            return
        read = torch.cat((self._read[0], self._read[0].new_tensor([self._read[1]])))
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(read)
        norms = (read[:-1] / read[-1].clamp(min=1)).to(self.average)
        self.average.lerp_(norms, self.config.momentum)
        groups = heads_by_share(self.average.float(), self.heads, smallest_first=False)
        self.group_of_head.copy_(groups)
        self._read = None
