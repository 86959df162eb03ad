"""The cache lives in an opaque object, which counts as nothing."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention


class Box:
    def __init__(self, s):
        self.s = s


BREAKS = "decoding"


@register_variant(
    name="state-opaque",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="0 E",
)
class StateOpaque(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        return Box(super().initial_state(batch, context, key_padding_mask=key_padding_mask))

    def step(self, x, state):
        y, new = super().step(x, state.s)
        return y, Box(new)
