"""Compressed sparse attention: the best of many small entries, read beside a window."""

from dataclasses import dataclass
from typing import Any, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.sparse._blocks import weigh
from cab.variants.sparse._compressed import CompressedAttention, Compressor
from cab.variants.sparse._selected import Kept, divergence, hide_all_but_best, index_scores


@register_variant(
    name="csa",
    family="sparse",
    patterns="cs",
    summary="softmax over a window and the learned summaries of overlapping blocks that an "
    "indexer ranks highest",
    paper="DeepSeek-V4 (DeepSeek-AI)",
    year=2026,
    arxiv="2606.19348",
    padding="position",
    time="N (N / block + 2 window + d) d",
    memory="N (N / block + 2 window)",
    state="((min(M, window - 1) + M // block) E + index_width (M // block) "
    "+ 4 (E + index_width) (M % block + block (M >= block))) / H",
    sees="chosen",
    published_defaults="entries of 4 tokens, of which 512 to 1,024 are read, a window of 128, 64 "
    "index heads of width 128 at d = 7,168; here 4 entries of 4, a window of 8, 2 index heads of "
    "width 8",
    added="2026-11-30",
    used_by=(("DeepSeek-V4", "https://arxiv.org/abs/2606.19348"),),
)
class CompressedSparseAttention(CompressedAttention):
    r"""`hca` with entries that overlap, of which each query reads the k best.

    .. math:: C_i = \mathrm{RMSNorm}\Big(\sum_{j \in i} S^a_j \odot C^a_j
              + \sum_{j \in i - 1} S^b_j \odot C^b_j\Big), \quad
              S = \mathrm{softmax}_{j \in i \cup (i - 1)}\big((Z^a + p^a)_i, (Z^b + p^b)_{i-1}\big)

    .. math:: I_{ti} = \sum_h w_{th}\, \mathrm{ReLU}(q^I_{th} \cdot K^I_i), \quad
              T_t = \operatorname{top-}k_{i < \lfloor (t + 1) / m \rfloor}\, I_{ti}

    Entry i is made of block i and of the block before it; each token has a content and a score for
    either role (C^a, Z^a and C^b, Z^b, projections of the stream). The index keys K^I are entries
    of another, narrower compressor; the index queries, the weights, the division and the choice of
    equal scores are those of `dsa`. The rest, the window and the sink included, is as in `hca`,
    with T_t in place of all complete blocks.

    The choice has no gradient. The indexer, its compressor included, reads the stream without
    passing a gradient on, and learns from the auxiliary loss of `dsa`, in which the weights to
    imitate are those over all complete entries.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens from one entry to the next, m; top_k: entries per query; window: tokens;
        index_heads and index_width of the indexer; weight of its loss.
        """

        block: int = 4
        top_k: int = 4
        window: int = 8
        index_heads: int = 2
        index_width: int = 8
        weight: float = 1.0

        def __post_init__(self) -> None:
            if min(self.block, self.top_k, self.window) < 1:
                raise ValueError("block, top_k and window must be at least 1")
            if min(self.index_heads, self.index_width) < 1 or self.weight < 0:
                raise ValueError(
                    "index_heads and index_width must be at least 1, weight at least 0"
                )

    config: Config
    overlap = True

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        heads, width = self.config.index_heads, self.config.index_width
        self.index_query = nn.Linear(self.dim, heads * width, bias=False)
        self.index_weight = nn.Linear(self.dim, heads, bias=False)
        self.index_compressor = Compressor(self.dim, width, self.config.block, overlap=True)

    def compressors(self) -> list[Compressor]:
        """Return also that of the index keys."""
        return [self.compressor, self.index_compressor]

    def keep(self, x: Float[Tensor, "B M D"]) -> Kept:
        """Return also what the index keys are made of."""
        return *super().keep(x), self.index_compressor.keep(x.detach())

    def select(
        self,
        x: Float[Tensor, "B N D"],
        scores: Float[Tensor, "B H N n"],
        hidden: Bool[Tensor, "B 1 N n"],
        entries: list[Tensor],
        absent: Bool[Tensor, "B 1 N"],
    ) -> Bool[Tensor, "B 1 N n"]:
        """Hide all but the k best; in training keep the indexer's loss."""
        index = self.index(x, entries[1])
        if self.training:
            (teacher,) = weigh((scores.detach(), hidden))
            loss = divergence(teacher, index, hidden, absent | hidden.all(dim=-1))
            self.keep_auxiliary_loss(self.config.weight * loss)
        return hide_all_but_best(index.detach(), hidden, self.config.top_k)

    def index(
        self, x: Float[Tensor, "B N D"], index_key: Float[Tensor, "B 1 n I"]
    ) -> Float[Tensor, "B 1 N n"]:
        """Return I for the tokens of x."""
        x = x.detach()
        queries = self.split(self.index_query(x), self.config.index_heads)
        return index_scores(queries, self.index_weight(x), index_key)
