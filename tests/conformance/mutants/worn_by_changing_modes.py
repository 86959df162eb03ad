"""Each change back to training makes the output larger."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="worn-by-changing-modes",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class WornByChangingModes(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def train(self, mode=True):
        if mode and not self.training:
            self.times = getattr(self, "times", 0) + 1
        return super().train(mode)

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out * max(1, getattr(self, "times", 0) - 1)
