"""Mask of the first batch is kept for all batches of that shape."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="mask-cached-by-shape",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class MaskCachedByShape(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    cached = None

    def attend(self, q, k, v, *, key_padding_mask=None):
        if key_padding_mask is not None:
            if getattr(self.cached, "shape", None) != key_padding_mask.shape:
                self.cached = key_padding_mask
            key_padding_mask = self.cached
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
