"""Sparse Sinkhorn attention: blocks attend to themselves and to a softly permuted one."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention, read_source
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible, cut, join, padding_of


@register_variant(
    name="sinkhorn",
    family="sparse",
    patterns="ns",
    summary="softmax over the query's own block and a block mixed by a learned soft permutation",
    paper="Sparse Sinkhorn Attention (Tay, Bahri, Yang, Metzler, Juan)",
    year=2020,
    arxiv="2002.11296",
    padding="position",
    time="N block d + N^2 d / block",
    memory="N block + N^2 / block^2",
    fixed_length=True,
    published_defaults="blocks of 32 or 64 of up to 2,048 tokens, 5 to 20 iterations, temperature "
    "0.75, a sorting network as wide as the model; here blocks of 16, 5 iterations, a sorting "
    "network as wide as a head",
    added="2026-11-21",
)
class SinkhornAttention(MultiHeadAttention):
    r"""Blocks :math:`K_i` of b keys, sorted by a nearly doubly stochastic matrix R.

    .. math:: z_i = \sum_{s \in I_i} x_s, \quad
              R = \operatorname{Sinkhorn}(\exp(F(z_i)_j / \tau)), \quad
              F(z) = W' \operatorname{relu}(W z + w) + w', \\
              o_t = \operatorname{softmax}(q_t [\textstyle\sum_j R_{ij} K_j ; K_i]^\top / \sqrt{E})
              [\sum_j R_{ij} V_j ; V_i], \quad t \in I_i

    Sinkhorn divides columns and rows by their sums in turn, rows last, so that what a block reads
    is a mean of all blocks, which every query reads. x is the layer's input; each head has an R,
    from rows of W' of its own. Where a block has no token at a place, the mixed block has 0 from
    it. The paper's Gumbel noise in training is left out.

    The paper's causal form is left out too. A column's sum runs over all blocks that may read
    block j, those after the reading one among them, so that dividing by it shows the future. If it
    ended at the reading block, the first to read j would take all of it: with every iteration
    each block would read more of the one before it, and in the end nothing else.
    """

    @dataclass(frozen=True)
    class Config:
        """block is b, temperature tau; iterations of dividing columns and rows."""

        block: int = 16
        iterations: int = 5
        temperature: float = 0.75

        def __post_init__(self) -> None:
            if min(self.block, self.iterations) < 1:
                raise ValueError("block and iterations must be at least 1")
            if self.temperature <= 0:
                raise ValueError("temperature must be above 0")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        blocks = -(-self.max_length // self.config.block)
        self.sort = nn.Sequential(
            nn.Linear(self.dim, self.head_width),
            nn.ReLU(),
            nn.Linear(self.head_width, self.heads * blocks),
        )

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Sort the blocks, attend, project; 0 for a query that sees nothing."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        block = self.config.block
        gone = cut(padding_of(k, key_padding_mask), 2, block, fill=True)  # (B, 1, n, b)
        keys, values = cut(k, 2, block), cut(v, 2, block)
        order = self._order(cut(x, 1, block).sum(dim=2), gone.all(dim=-1))
        # A place of a mixed block is none if no block has a token there.
        missing = gone.all(dim=2, keepdim=True).expand_as(gone)
        keys, values = (
            torch.cat(((order @ x.flatten(3)).unflatten(3, x.shape[3:]), x), dim=3)
            for x in (keys, values)
        )
        hidden = torch.cat((missing, gone), dim=-1)[..., None, :]
        out = attend_visible(cut(q / self.head_width**0.5, 2, block), keys, values, hidden)
        return self.output(self.merge_heads(join(out, 2, q.shape[2])))

    def _order(
        self, z: Float[Tensor, "B n D"], empty: Bool[Tensor, "B 1 n"]
    ) -> Float[Tensor, "B H n n"]:
        """Return R, with rows and columns of 0 for blocks without tokens."""
        scores = self.sort(z).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        scores = scores[..., : z.shape[1]] / self.config.temperature
        logs = scores.to(torch.promote_types(scores.dtype, torch.float32))
        closed, lowest = empty[..., None] | empty[:, :, None], torch.finfo(logs.dtype).min
        logs = logs.masked_fill(closed, lowest)
        for _ in range(self.config.iterations):
            for axis in (-2, -1):
                total = logs.logsumexp(dim=axis, keepdim=True)
                logs = (logs - total).masked_fill(closed, lowest)
        return logs.exp().to(z.dtype)
