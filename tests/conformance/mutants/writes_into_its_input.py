"""The stream is changed in place."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="writes-into-its-input",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class WritesIntoItsInput(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        out = super().forward(x, context, key_padding_mask=key_padding_mask)
        with torch.no_grad():
            x.mul_(1.0 + 1e-6)
        return out
