"""Short sequences are summed into a buffer of the weights' type, which autocast does not use."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "composition"


@register_variant(
    name="short-path-in-float32",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks composition",
    time="N^2 d",
    memory="N^2",
)
class ShortPathInFloat32(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        if out.shape[2] > 128:
            return out
        rows = torch.arange(out.shape[2])
        total = torch.zeros(out.shape, dtype=self.query.weight.dtype)
        return total.index_add(2, rows, out)
