"""Heads and rows are mixed in the padding mask."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="padding-of-another-row",
    family="softmax",
    patterns="ns nc cc",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class PaddingOfAnotherRow(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if key_padding_mask is None:
            return super().attend(q, k, v)
        scores = (q @ k.mT / self.head_width**0.5).flatten(0, 1)
        hidden = key_padding_mask.repeat(self.heads, 1)[:, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        weights = weights.masked_fill(hidden, 0.0)
        return (weights @ v.flatten(0, 1)).unflatten(0, q.shape[:2])
