"""Exact top-k attention: softmax over the k keys with the highest of all scores.

The upper bound of the family: what a mechanism that chooses k keys could reach at best.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.decoding import CachedAttention
from cab.registry import register_variant
from cab.taxonomy import Pattern


@register_variant(
    name="topk",
    family="sparse",
    patterns="ns cs nc cc",
    extended="nc",
    summary="softmax over the keys with the highest scores, chosen exactly for each query and "
    "head",
    paper="Explicit Sparse Transformer: Concentrated Attention Through Explicit Selection "
    "(Zhao et al.)",
    year=2019,
    arxiv="1912.11637",
    time="N M d",
    memory="(N + M) d",
    state="2 M E",
    sees="chosen",
    budget="keep",
    published_defaults="8 keys of a sentence of words; here 16, as many tokens as `window` sees "
    "in cs",
    added="2026-11-21",
)
class TopKAttention(CachedAttention):
    r"""Softmax over :math:`T_t`, the visible keys whose scores are among the k largest.

    .. math:: x_{ts} = q_t \cdot k_s / \sqrt{E}, \quad
              T_t = \{s \in V_t : x_{ts} \ge \text{the k-th largest of } x_{tu}, u \in V_t\}, \quad
              o_t = \sum_{s \in T_t} \mathrm{softmax}_s(x_{ts}) v_s

    V_t are the unpadded keys; in CS those at positions up to t. Equal scores at the threshold
    are all kept, and where fewer than k keys are visible all are. The scores are computed
    in chunks of queries and again in the backward pass, as in "Memory-efficient Transformers via
    Top-k Attention" (Gupta et al., 2021, arXiv 2106.06899), so that memory is linear in length.
    """

    @dataclass(frozen=True)
    class Config:
        """keep: keys per query. chunk: queries at a time; it changes the cost, not the result."""

        keep: int = 16
        chunk: int = 128

        def __post_init__(self) -> None:
            if min(self.keep, self.chunk) < 1:
                raise ValueError("keep and chunk must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing. In CS the queries are the last N of M."""
        outputs = []
        for start in range(0, q.shape[2], self.config.chunk):
            rows = q[:, :, start : start + self.config.chunk]
            # The last row of the chunk sees no key after its own position.
            last = k.shape[2] - q.shape[2] + start + rows.shape[2]
            seen = slice(last if self.pattern == Pattern.CS else None)
            outputs.append(
                checkpoint(
                    self._attend_rows,
                    *(rows, k[:, :, seen], v[:, :, seen]),
                    None if key_padding_mask is None else key_padding_mask[:, seen],
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            )
        return torch.cat(outputs, dim=2)

    def _attend_rows(
        self,
        q: Float[Tensor, "B H C E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None,
    ) -> Float[Tensor, "B H C E"]:
        scores = (q / self.head_width**0.5) @ k.mT
        hidden = torch.zeros_like(scores, dtype=torch.bool)
        if self.pattern == Pattern.CS:
            hidden = torch.ones_like(hidden).triu(1 + k.shape[2] - q.shape[2])
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        candidates = scores.detach().masked_fill(hidden, -torch.inf)
        keep = min(self.config.keep, k.shape[2])
        hidden = hidden | (candidates < candidates.topk(keep, dim=-1).values[..., -1:])
        # The lowest finite number, not -inf: a row that sees nothing stays finite, and is zeroed.
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
