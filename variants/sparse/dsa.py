"""DeepSeek sparse attention: a small indexer, trained to imitate the scores, selects the keys."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.sparse._blocks import weigh
from cab.variants.sparse._selected import (
    IndexedAttention,
    Kept,
    divergence,
    hide_all_but_best,
    index_scores,
    of_queries,
)


@register_variant(
    name="dsa",
    family="sparse",
    patterns="cs",
    summary="softmax over the keys that a small indexer, trained to imitate the weights, ranks "
    "highest",
    paper="DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models (DeepSeek-AI)",
    year=2025,
    arxiv="2512.02556",
    time="N^2 d",
    memory="N^2",
    state="2 M E + index_width M / H",
    sees="chosen",
    budget="keep",
    published_defaults="2,048 keys of 131,072 tokens, 64 index heads of width 128 at d = 7,168; "
    "here 16 keys, as topk, and 2 index heads of width 8",
    added="2026-11-30",
    used_by=(
        ("DeepSeek-V3.2", "https://arxiv.org/abs/2512.02556"),
        ("GLM-5", "https://arxiv.org/abs/2602.15763"),
    ),
)
class DeepSeekSparseAttention(IndexedAttention):
    r"""Softmax over :math:`T_t`, the k tokens up to t with the highest index scores.

    .. math:: I_{ts} = \sum_{j} w_{tj}\, \mathrm{ReLU}(q^I_{tj} \cdot k^I_s), \quad
              T_t = \operatorname{top-}k_{s \le t}\, I_{ts}, \quad
              o_t = \sum_{s \in T_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    The index queries q^I of a few heads, one index key k^I and the weights w are projections of
    the stream; the score is divided by the root of heads times width. All heads read the same
    keys; of equal scores the latest are kept. The choice has no gradient: the indexer, which reads
    the stream without passing a gradient on, learns from the auxiliary loss

    .. math:: \mathrm{mean}_t\, \mathrm{KL}(\mathrm{mean}_h\, p^h_t \,\|\, \mathrm{softmax}(I_t)),

    p the softmax of the scores over all s up to t, as in the paper's first stage, in which nothing
    is selected yet. The paper adds the indexer to a trained model and later takes p over the
    chosen keys alone; here all parts learn together from the start. The paper's attention has
    latent keys, as in `mla`; here they are those of softmax attention. Here all scores are
    computed, and the unchosen hidden.
    """

    @dataclass(frozen=True)
    class Config:
        """keep: keys per query; index_heads and index_width of the indexer; weight of its loss."""

        keep: int = 16
        index_heads: int = 2
        index_width: int = 8
        weight: float = 1.0

        def __post_init__(self) -> None:
            if min(self.keep, self.index_heads, self.index_width) < 1 or self.weight < 0:
                raise ValueError(
                    "keep, index_heads and index_width must be at least 1, weight at least 0"
                )

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        config = self.Config() if config is None else config
        super().__init__(config, config.index_heads, **geometry)
        self.index_weight = nn.Linear(self.dim, config.index_heads, bias=False)

    def answer(
        self, x: Float[Tensor, "B N D"], kept: Kept, absent: Bool[Tensor, "B 1 M"]
    ) -> Float[Tensor, "B N D"]:
        """Return o, or 0 for a query that sees nothing; in training keep the indexer's loss."""
        k, v, index_key = kept
        q = self.split(self.query(x), self.heads) / k.shape[-1] ** 0.5
        position = of_queries(q.shape[2], k.shape[2], x.device)
        later = torch.arange(k.shape[2], device=x.device) > position[:, None]
        hidden = absent[:, :, None] | later
        scores, index = q @ k.mT, self.index(x, index_key)
        if self.training:
            (teacher,) = weigh((scores.detach(), hidden))
            silent = absent[:, :, -q.shape[2] :] | hidden.all(dim=-1)
            loss = divergence(teacher, index, hidden, silent)
            self.keep_auxiliary_loss(self.config.weight * loss)
        hidden = hide_all_but_best(index.detach(), hidden, self.config.keep)
        (weights,) = weigh((scores, hidden))
        return self.output((weights @ v).transpose(1, 2).flatten(-2))

    def index(
        self, x: Float[Tensor, "B N D"], index_key: Float[Tensor, "B 1 M I"]
    ) -> Float[Tensor, "B 1 N M"]:
        """Return I for the tokens of x."""
        x = x.detach()
        queries = self.split(self.index_query(x), self.config.index_heads)
        return index_scores(queries, self.index_weight(x), index_key)
