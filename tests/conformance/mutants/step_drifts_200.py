"""Decoding differs after 140 tokens."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="step-drifts-200",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class StepDrifts200(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def step(self, x, state):
        y, state = super().step(x, state)
        return (y * 0 if state.k.shape[2] > 140 else y), state
