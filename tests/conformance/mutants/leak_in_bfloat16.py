"""Scaling by the largest key of the sequence, in low precision alone."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="leak-in-bfloat16",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class LeakInBfloat16(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if q.dtype == torch.bfloat16:
            q = q / k.abs().amax(dim=2, keepdim=True).clamp(min=1e-3)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
