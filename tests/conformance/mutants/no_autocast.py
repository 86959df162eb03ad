"""Sums into a buffer of the stream's type: mixed precision has another one."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "composition"


@register_variant(
    name="no-autocast",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks composition",
    time="N^2 d",
    memory="N^2",
)
class NoAutocast(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        rows = torch.arange(out.shape[2])
        total = torch.zeros(out.shape, dtype=self.query.weight.dtype)
        return total.index_add(2, rows, out)
