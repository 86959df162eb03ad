"""The context is averaged: who asks does not matter."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "liveness"


@register_variant(
    name="blind-queries",
    family="softmax",
    patterns="nc cc",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
)
class BlindQueries(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(torch.zeros_like(q), k, v, key_padding_mask=key_padding_mask)
