"""Called quadratic, and multiplies N x N by N x N."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="cubic",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks cost",
    time="N^2 d",
    memory="N^2",
)
class Cubic(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, None, :], -1e30)
        weights = scores.softmax(dim=-1)
        if key_padding_mask is not None:
            weights = weights.masked_fill(key_padding_mask[:, None, None, :], 0.0)
        return (weights @ weights) @ v
