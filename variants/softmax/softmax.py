"""Softmax attention: the reference, which defines score 1."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention
from cab.registry import register_variant


@register_variant(
    name="softmax",
    family="softmax",
    patterns="ns cs nc cc",
    summary="scaled dot-product attention with all scores in memory",
    paper="Attention Is All You Need (Vaswani et al.)",
    year=2017,
    arxiv="1706.03762",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
    exact=True,
    role="reference",
    added="2026-11-21",
)
class SoftmaxAttention(CachedAttention):
    r"""Mix values by normalised exponentials of the scores.

    .. math:: o_t = \sum_{s \in V_t} \frac{\exp(q_t \cdot k_s / \sqrt{E})}
              {\sum_{u \in V_t} \exp(q_t \cdot k_u / \sqrt{E})} v_s

    V_t are the unpadded keys; in CS those at positions up to t. Where V_t is empty o_t is 0.
    """

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. In CS the queries are the last N of the M positions."""
        scores = (q / self.head_width**0.5) @ k.mT
        causal = self.pattern.causal and not self.pattern.cross
        if not causal and key_padding_mask is None:
            return scores.softmax(dim=-1) @ v
        hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool, device=q.device)
        if causal:
            hidden = torch.ones_like(hidden).triu(1 + k.shape[2] - q.shape[2])
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        # The lowest finite number, not -inf: a row that sees nothing stays finite, and is zeroed.
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
