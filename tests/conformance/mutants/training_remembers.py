"""In training the values of the former batch are added."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="training-remembers",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class TrainingRemembers(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    kept = None

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        if self.training:
            if self.kept is not None and self.kept.shape == out.shape:
                out = out + self.kept
            self.kept = v.detach()
        return out
