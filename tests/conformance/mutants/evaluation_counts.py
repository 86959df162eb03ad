"""Evaluation counts its calls in a buffer."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="evaluation-counts",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class EvaluationCounts(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.register_buffer("calls", torch.zeros(()))

    def attend(self, q, k, v, *, key_padding_mask=None):
        self.calls += 1
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
