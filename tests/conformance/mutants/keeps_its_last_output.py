"""The module keeps its last output, with the graph, as an attribute."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="keeps-its-last-output",
    family="softmax",
    patterns="ns cs",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class KeepsItsLastOutput(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        self.heads_before = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return self.heads_before
