"""Outputs are divided by the length of the whole sequence."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="length-matters",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class LengthMatters(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(q, k, v, key_padding_mask=key_padding_mask) / q.shape[2] ** 0.5
