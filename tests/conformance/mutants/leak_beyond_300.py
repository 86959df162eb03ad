"""Causal leak beyond 300 tokens."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="leak-beyond-300",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class LeakBeyond300(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out + v.mean(dim=2, keepdim=True) if q.shape[2] > 300 else out
