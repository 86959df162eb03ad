"""Gradient halved beyond 70 tokens."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="detach-long",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class DetachLong(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if q.shape[2] > 70:
            q = q * 0.5 + q.detach() * 0.5
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
