"""Keeps the last output of a step, with its graph."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="keeps-its-output-of-a-step",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class KeepsItsOutputOfAStep(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def recall(self, q, state):
        self.last = super().recall(q, state)
        return self.last
