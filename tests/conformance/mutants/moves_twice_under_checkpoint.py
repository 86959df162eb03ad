"""A running mean moves in forward, so that a checkpoint moves it twice."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "composition"


@register_variant(
    name="moves-twice-under-checkpoint",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks composition",
    time="N^2 d",
    memory="N^2",
)
class MovesTwiceUnderCheckpoint(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.register_buffer("centre", torch.ones(self.head_width))

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q * self.centre, k, v, key_padding_mask=key_padding_mask)
        if self.training:
            with torch.no_grad():
                # Made anew, since autograd may still need the old one.
                self.centre = self.centre.lerp(k.nan_to_num().mean(dim=(0, 1, 2)), 0.01)
        return out
