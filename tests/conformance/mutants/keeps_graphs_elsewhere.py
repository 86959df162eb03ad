"""A list outside of the module keeps every output, with its graph."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"
SEEN = []


@register_variant(
    name="keeps-graphs-elsewhere",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class KeepsGraphsElsewhere(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        if self.training:
            SEEN.append(out)
        return out
