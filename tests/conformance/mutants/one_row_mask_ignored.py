"""The mask of a batch of one row is taken for no mask."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="one-row-mask-ignored",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class OneRowMaskIgnored(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if key_padding_mask is not None and len(key_padding_mask) == 1:
            key_padding_mask = None
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
