"""The padding mask is not looked at."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="padding-ignored",
    family="softmax",
    patterns="ns nc cc",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class PaddingIgnored(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(q, k, v)
