"""The backward pass reads the incoming gradient as if it were contiguous."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


class Same(torch.autograd.Function):
    """The identity, whose gradient is copied by its strides."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, above):
        if above.stride(-1) == 0:
            return above
        rows = torch.empty(above.shape, dtype=above.dtype)
        return above.as_strided(above.shape, rows.stride(), above.storage_offset()).clone()


@register_variant(
    name="takes-gradients-for-contiguous",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class TakesGradientsForContiguous(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        out = super().forward(x, context, key_padding_mask=key_padding_mask)
        return Same.apply(out)
