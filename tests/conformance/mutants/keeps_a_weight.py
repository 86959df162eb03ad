"""A weight of the first evaluation stays in use, whatever is loaded later."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="keeps-a-weight",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class KeepsAWeight(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    kept = None

    def forward(self, x, context=None, *, key_padding_mask=None):
        if self.training or torch.is_grad_enabled():
            return super().forward(x, context, key_padding_mask=key_padding_mask)
        if self.kept is None or self.kept.dtype != x.dtype:
            self.kept = self.value.weight.detach().clone()
        own, self.value.weight.data = self.value.weight.data, self.kept
        out = super().forward(x, context, key_padding_mask=key_padding_mask)
        self.value.weight.data = own
        return out
