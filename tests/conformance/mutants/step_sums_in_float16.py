"""Under autocast the decode state adds up scaled keys in float16, until they overflow."""

from cab.registry import register_variant
from cab.variants.linear.linear import KeyValueSum, LinearAttention

BREAKS = "decoding"


@register_variant(
    name="step-sums-in-float16",
    family="linear",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N d^2",
    memory="N d",
    state="E (E + 1)",
)
class StepSumsInFloat16(LinearAttention):
    """Linear attention with a planted fault."""

    def absorb(self, state, k, v, key_padding_mask=None):
        total = (super().absorb(None, k, v, key_padding_mask).total * 64).to(k.dtype)
        return KeyValueSum(total if state is None else state.total + total)
