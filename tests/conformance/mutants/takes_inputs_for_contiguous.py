"""The memory of x is read as if it were contiguous."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="takes-inputs-for-contiguous",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class TakesInputsForContiguous(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        if key_padding_mask is None or x.stride(1) != x.shape[2]:
            memory = torch.zeros_like(x, memory_format=torch.contiguous_format)
            x = x.as_strided(x.shape, memory.stride())
        return super().forward(x, context, key_padding_mask=key_padding_mask)
