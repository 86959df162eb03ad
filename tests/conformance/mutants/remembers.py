"""The last batch leaks into the next through a buffer."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="remembers",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class Remembers(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.register_buffer("last", torch.zeros(()))

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask) + self.last
        self.last = v.detach().mean().nan_to_num()
        return out
