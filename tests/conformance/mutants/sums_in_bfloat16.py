"""Said to be exact, and computed in bfloat16 whatever comes in."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "numerics"


@register_variant(
    name="sums-in-bfloat16",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
    exact=True,
    gradients="estimated",
)
class SumsInBfloat16(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        q, k, low = (part.bfloat16() for part in (q, k, v))
        return super().attend(q, k, low, key_padding_mask=key_padding_mask).to(v.dtype)
