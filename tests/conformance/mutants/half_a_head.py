"""The last head answers with half of its values: the other half is counted and never learns."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="half-a-head",
    family="softmax",
    patterns="ns cs nc cc",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class HalfAHead(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        kept = torch.ones_like(v)
        kept[:, -1, :, self.head_width // 2 :] = 0.0
        return super().attend(q, k, v * kept, key_padding_mask=key_padding_mask)
