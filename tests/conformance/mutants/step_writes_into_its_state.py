"""A step changes the state that it was given: beams would share it."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="step-writes-into-its-state",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class StepWritesIntoItsState(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def step(self, x, state):
        y, after = super().step(x, state)
        if state.v.shape[2]:
            state.v[:, :, 0] *= 1.5
            after.v[:, :, 1:] = after.v[:, :, 1:].clone()
        return y, after
