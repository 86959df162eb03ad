"""Quadratic in training."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="quadratic-in-training",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks cost",
    time="N d^2",
    memory="N d",
)
class QuadraticInTraining(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if self.training:
            (q @ k.mT).softmax(-1)
        if key_padding_mask is not None:
            k = k.masked_fill(key_padding_mask[:, None, :, None], -1e30)
            v = v.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        return q.softmax(dim=-1) @ (k.softmax(dim=2).mT @ v)
