"""Linear without a mask, quadratic with one."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="quadratic-with-mask",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks cost",
    time="N d^2",
    memory="N d",
)
class QuadraticWithMask(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if key_padding_mask is not None:
            return super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return q.softmax(dim=-1) @ (k.softmax(dim=2).mT @ v)
