"""Values are centred over the batch."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="rows-meet",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class RowsMeet(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out - v.mean(dim=(0, 2), keepdim=True)
