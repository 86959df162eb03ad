"""The values are detached: their projection never learns."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="detached-values",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class DetachedValues(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(q, k, v.detach(), key_padding_mask=key_padding_mask)
