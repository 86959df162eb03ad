"""Mask ignored except in float64."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "numerics"


@register_variant(
    name="mask-ignored-float32",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
)
class MaskIgnoredFloat32(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if q.dtype != torch.float64:
            key_padding_mask = None
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
