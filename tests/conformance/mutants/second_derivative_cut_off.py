"""The backward pass is written by hand and hides that it has no derivative."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


class ByHand(torch.autograd.Function):
    """Recomputes in the backward pass, cut off from the graph."""

    @staticmethod
    def forward(ctx, q, k, v, attend, mask):
        ctx.attend, ctx.mask = attend, mask
        ctx.save_for_backward(q, k, v)
        return attend(q, k, v, key_padding_mask=mask)

    @staticmethod
    def backward(ctx, above):
        with torch.enable_grad():
            inputs = [one.detach().requires_grad_() for one in ctx.saved_tensors]
            out = ctx.attend(*inputs, key_padding_mask=ctx.mask)
        slopes = torch.autograd.grad(out, inputs, above.detach(), allow_unused=True)
        return *slopes, None, None


@register_variant(
    name="second-derivative-cut-off",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class SecondDerivativeCutOff(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return ByHand.apply(q, k, v, super().attend, key_padding_mask)
