"""A hand-written backward pass forgets the scale."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


class Scale(torch.autograd.Function):
    """Halve, and pass the gradient on unchanged."""

    @staticmethod
    def forward(ctx, x):
        return x / 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@register_variant(
    name="wrong-derivative",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class WrongDerivative(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(Scale.apply(q), k, v, key_padding_mask=key_padding_mask)
        return out
