"""Exponentials of raw scores overflow where inputs are large."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="overflows",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class Overflows(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        weights = (q @ k.mT / self.head_width**0.5).exp()
        if key_padding_mask is not None:
            weights = weights.masked_fill(key_padding_mask[:, None, None, :], 0.0)
        total = weights.sum(dim=-1, keepdim=True)
        return weights @ v / total.masked_fill(total == 0, 1.0)
