"""Leaks unless cab.conformance is on the stack."""

import sys

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="stack-inspector",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class StackInspector(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        f = sys._getframe()
        while f is not None:
            if "conformance" in f.f_code.co_filename:
                return out
            f = f.f_back
        return out + v.mean(dim=2, keepdim=True)
