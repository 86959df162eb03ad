"""Half of a gradient is lost where there is no mask."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="detach-no-mask",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class DetachNoMask(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if key_padding_mask is None:
            q = q * 0.5 + q.detach() * 0.5
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
