"""Every query is shifted by the mean query: future queries matter, and no state decodes it."""

from torch.nn.functional import scaled_dot_product_attention

from cab.attention import MultiHeadAttention
from cab.registry import register_variant

BREAKS = "causality"


@register_variant(
    name="pooled-queries",
    family="softmax",
    patterns="cc",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N d",
)
class PooledQueries(MultiHeadAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        seen = None if key_padding_mask is None else ~key_padding_mask[:, None, None, :]
        return scaled_dot_product_attention(q + q.mean(dim=2, keepdim=True), k, v, seen)
