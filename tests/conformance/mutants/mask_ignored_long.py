"""The mask is ignored beyond 140 tokens."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="mask-ignored-long",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class MaskIgnoredLong(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if k.shape[2] > 140:
            key_padding_mask = None
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
