"""Called local, and builds all pairs to look at a few."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="gathers-per-query",
    family="softmax",
    patterns="ns cs",
    summary="a mutant: breaks cost",
    time="N d",
    memory="N d",
    sees="abs(t - s) < 8",
)
class GathersPerQuery(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        distance = torch.arange(q.shape[2])[:, None] - torch.arange(q.shape[2])
        hidden = distance.abs() >= 8
        if self.pattern.causal:
            hidden = hidden | (distance < 0)
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        scores = q @ k.mT / self.head_width**0.5
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
