"""The state is the number of a cache that is kept in the module."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="state-by-number",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="0 M",
)
class StateByNumber(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    store = ()

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        return self._kept(super().initial_state(batch, context, key_padding_mask=key_padding_mask))

    def step(self, x, state):
        known = state[0] < len(self.store)
        before = self.store[state[0]] if known else super().initial_state(len(x))
        y, after = super().step(x, before)
        return y, self._kept(after)

    def _kept(self, state):
        self.store = (*self.store, state)
        return (len(self.store) - 1,)
