"""Batches read the context that was given last, whichever state they continue."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="context-kept-in-module",
    family="softmax",
    patterns="cc",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class ContextKeptInModule(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        state = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        if batch > 1:
            self.newest = state
        return state

    def recall(self, q, state):
        newest = getattr(self, "newest", None)
        if newest is not None and newest.k.shape == state.k.shape:
            state = newest
        return super().recall(q, state)
