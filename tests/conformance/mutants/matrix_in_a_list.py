"""A constant matrix stands in a plain list: no device, state dict or count knows of it."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="matrix-in-a-list",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class MatrixInAList(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        width = self.head_width
        self.mixes = [torch.eye(width) + torch.ones(width, width) / width]

    def attend(self, q, k, v, *, key_padding_mask=None):
        q = q @ self.mixes[0].to(q)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
