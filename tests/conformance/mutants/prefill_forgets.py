"""A part of a prompt attends to itself alone, not to the parts before it."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="prefill-forgets",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class PrefillForgets(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def prefill(self, x, state):
        _, after = super().prefill(x, state)
        y, _ = super().prefill(x, self.initial_state(x.shape[0]))
        return y, after
