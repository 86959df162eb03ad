"""A part of more than 8 tokens that continues a prompt attends to itself alone."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="long-prefill-forgets",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class LongPrefillForgets(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def prefill(self, x, state):
        y, after = super().prefill(x, state)
        if x.shape[1] > 8:
            y, _ = super().prefill(x, self.initial_state(x.shape[0]))
        return y, after
