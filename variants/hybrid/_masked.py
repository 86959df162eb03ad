"""Softmax over the keys that are visible."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_softmax(
    scores: Float[Tensor, "*B R C"], hidden: Bool[Tensor, "..."]
) -> Float[Tensor, "*B R C"]:
    """Normalise over the last axis; hidden keys weigh 0, also where a query sees none at all."""
    # The lowest finite number, not -inf: a row that sees nothing stays finite, and is zeroed.
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights.masked_fill(hidden, 0.0)
