"""Every query is shifted by the mean query: future queries matter."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="pooled-queries",
    family="softmax",
    patterns="cc",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class PooledQueries(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        q = q + q.mean(dim=2, keepdim=True)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
