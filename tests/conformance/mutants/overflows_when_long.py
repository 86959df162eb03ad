"""A product over the tokens is taken out again, and overflows beyond 900 of them."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="overflows-when-long",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks cost",
    time="N^2 d",
    memory="N^2",
)
class OverflowsWhenLong(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        scale = torch.full_like(out, 1.1).cumprod(dim=2)
        return out * scale / scale
