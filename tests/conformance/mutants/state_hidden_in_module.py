"""The cache lives in the module; the state is a counter."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="state-hidden-in-module",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="1",
)
class StateHiddenInModule(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    store = ()

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        self.store = (super().initial_state(batch, context, key_padding_mask=key_padding_mask),)
        return torch.zeros(batch, self.heads, 1, dtype=torch.long)

    def step(self, x, state):
        t = int(state[0, 0, 0])
        before = self.store[t] if t < len(self.store) else super().initial_state(len(x))
        y, new = super().step(x, before)
        self.store = (*self.store[: t + 1], new)
        return y, state + 1
