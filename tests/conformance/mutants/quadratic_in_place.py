"""All pairs through in-place operations on one buffer."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="quadratic-in-place",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks cost",
    time="N d^2",
    memory="N d",
)
class QuadraticInPlace(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        total, product = torch.zeros_like(q), torch.zeros_like(q)
        with torch.no_grad():
            for s in range(q.shape[2]):
                torch.mul(q, k[:, :, s : s + 1], out=product)
                total.add_(product)
        if key_padding_mask is not None:
            k = k.masked_fill(key_padding_mask[:, None, :, None], -1e30)
            v = v.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        return q.softmax(dim=-1) @ (k.softmax(dim=2).mT @ v)
