"""Mask ignored in training."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="mask-ignored-training",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class MaskIgnoredTraining(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if self.training:
            key_padding_mask = None
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
