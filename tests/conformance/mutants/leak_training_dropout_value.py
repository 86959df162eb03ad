"""Value leak in training; Config has a dropout."""

from dataclasses import dataclass

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="leak-training-dropout-value",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class LeakTrainingDropoutValue(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    @dataclass(frozen=True)
    class Config:
        dropout: float = 0.1

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out + v.mean(dim=2, keepdim=True).detach() if self.training else out
