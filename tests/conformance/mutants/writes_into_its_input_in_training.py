"""Clears padding in the caller's tensor, in training alone."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="writes-into-its-input-in-training",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class WritesIntoItsInputInTraining(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        if key_padding_mask is not None and self.training:
            with torch.no_grad():
                x.masked_fill_(key_padding_mask[..., None], 0.0)
        return super().forward(x, context, key_padding_mask=key_padding_mask)
