"""The second half of the context is never read."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "liveness"


@register_variant(
    name="half-the-context",
    family="softmax",
    patterns="nc cc",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
)
class HalfTheContext(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool)
        hidden[:, : (hidden.shape[1] + 1) // 2] = False
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
