"""A mean is taken over the length with its padding."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="mean-over-padded-length",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class MeanOverPaddedLength(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out + v.mean(dim=2, keepdim=True)
