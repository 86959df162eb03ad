"""Beyond max_length the weights go on with another rule, without an error."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "numerics"


@register_variant(
    name="turns-beyond-max-length",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
)
class TurnsBeyondMaxLength(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out * min(1.0, self.max_length / q.shape[2])
