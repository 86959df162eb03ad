"""The card says half of what the state holds."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="state-formula-off",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="M E",
)
class StateFormulaOff(SoftmaxAttention):
    """Softmax attention with a planted fault."""
