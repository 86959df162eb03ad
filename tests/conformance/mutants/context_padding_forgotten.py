"""The state forgets which tokens of the context are padding."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="context-padding-forgotten",
    family="softmax",
    patterns="cc",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class ContextPaddingForgotten(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        state = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        return state._replace(key_padding_mask=torch.zeros_like(state.key_padding_mask))
