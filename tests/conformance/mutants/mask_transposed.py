"""The causal mask is transposed: each token sees the future and not the past."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="mask-transposed",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class MaskTransposed(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1).mT
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
