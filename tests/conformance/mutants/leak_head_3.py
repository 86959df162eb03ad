"""Leak in the fourth head."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="leak-head-3",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class LeakHead3(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        if self.heads > 3:
            return torch.cat((out[:, :3], out[:, 3:] + v[:, 3:].mean(2, keepdim=True)), dim=1)
        return out
