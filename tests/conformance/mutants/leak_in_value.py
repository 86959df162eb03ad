"""The value of the future reaches the output, its gradient does not."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="leak-in-value",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class LeakInValue(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        mean = v.detach().mean(dim=2, keepdim=True)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask) + mean
