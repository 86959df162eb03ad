"""The pattern says causal and nothing is hidden."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="causal-flag-ignored",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class CausalFlagIgnored(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool)
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
