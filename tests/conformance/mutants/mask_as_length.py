"""Mask read as a length: wrong for holes and left padding."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="mask-as-length",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class MaskAsLength(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if key_padding_mask is not None:
            n = (~key_padding_mask).sum(1)
            key_padding_mask = torch.arange(k.shape[2]) >= n[:, None]
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
