"""Said to be exact, with a scale that is off by a thousandth."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "numerics"


@register_variant(
    name="wrong-scale",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
    exact=True,
)
class WrongScale(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(1.001 * q, k, v, key_padding_mask=key_padding_mask)
