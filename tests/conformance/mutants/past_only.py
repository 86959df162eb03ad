"""The noncausal pattern is causal too."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "liveness"


@register_variant(
    name="past-only",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
)
class PastOnly(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
