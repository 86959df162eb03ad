"""Shared parts of this family: softmax over the keys that a query may see."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def softmax_attention(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H M E"],
    v: Float[Tensor, "B H M V"],
    *,
    causal: bool,
    key_padding_mask: Bool[Tensor, "B M"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "B H N V"]:
    """Return sum_s softmax_s(scale q_t . k_s) v_s, or 0 for a query that sees nothing.

    scale is 1 / sqrt(E) by default. When causal, the queries are the last N of the M positions.
    """
    hidden = hidden_pairs(q, k, causal=causal, key_padding_mask=key_padding_mask)
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT
    return masked_softmax(scores, hidden) @ v


def hidden_pairs(
    q: Float[Tensor, "_ _ N _"],
    k: Float[Tensor, "_ _ M _"],
    *,
    causal: bool,
    key_padding_mask: Bool[Tensor, "B M"] | None = None,
) -> Bool[Tensor, "_ 1 N M"]:
    """Return True where a query may not see a key, for all rows of the batch or for each.

    When causal, the queries are the last N of the M positions.
    """
    queries, keys = q.shape[2], k.shape[2]
    hidden = torch.zeros(1, 1, queries, keys, dtype=torch.bool, device=q.device)
    if causal:
        hidden = torch.ones_like(hidden).triu(1 + keys - queries)
    return hidden if key_padding_mask is None else hidden | key_padding_mask[:, None, None, :]


def masked_softmax(
    scores: Float[Tensor, "B H N M"], hidden: Bool[Tensor, "_ _ N M"]
) -> Float[Tensor, "B H N M"]:
    """Normalise over the visible keys; hidden ones weigh 0, also where a row sees none."""
    # The lowest finite number, not -inf: a row that sees nothing stays finite, and is zeroed.
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights.masked_fill(hidden, 0.0)
