"""Padded places of the caller's context are zeroed in place."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="writes-into-masked-context",
    family="softmax",
    patterns="nc",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class WritesIntoMaskedContext(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        if key_padding_mask is not None:
            with torch.no_grad():
                context[key_padding_mask] = 0.0
        return super().forward(x, context, key_padding_mask=key_padding_mask)
