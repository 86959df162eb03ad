"""The decode cache drops tokens older than 1500 steps."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="cache-of-1500",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class CacheOf1500(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def absorb(self, state, k, v, key_padding_mask=None):
        cache = super().absorb(state, k, v, key_padding_mask)
        return cache._replace(
            k=cache.k[:, :, -1500:],
            v=cache.v[:, :, -1500:],
            key_padding_mask=cache.key_padding_mask[:, -1500:],
        )
