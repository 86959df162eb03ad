"""0 x NaN is NaN: padding is multiplied away instead of being replaced."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="padding-times-zero",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class PaddingTimesZero(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        if key_padding_mask is not None:
            x = x * ~key_padding_mask[:, :, None]
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        return self.output(
            self.merge_heads(self.attend(q, k, v, key_padding_mask=key_padding_mask))
        )
