"""Half of what each token holds is never read, though every projection is there in full."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="half-of-the-features",
    family="softmax",
    patterns="ns cs nc cc",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class HalfOfTheFeatures(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        read = torch.arange(self.dim, device=x.device) < self.dim // 2
        x, context = (None if one is None else torch.where(read, one, 0.0) for one in (x, context))
        return super().forward(x, context, key_padding_mask=key_padding_mask)
