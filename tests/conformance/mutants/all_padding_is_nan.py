"""A row of padding alone is the softmax of nothing."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="all-padding-is-nan",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class AllPaddingIsNan(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool)
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, float("-inf")).softmax(dim=-1)
        return weights @ v
