"""A recomputed forward pass is another: every call differs."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "composition"


@register_variant(
    name="recomputes-otherwise",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks composition",
    time="N^2 d",
    memory="N^2",
)
class RecomputesOtherwise(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    calls = 0

    def attend(self, q, k, v, *, key_padding_mask=None):
        type(self).calls += 1
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out * (1 + 1e-3 * type(self).calls)
