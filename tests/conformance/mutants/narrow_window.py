"""The window is one token narrower than the card says."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "liveness"


@register_variant(
    name="narrow-window",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
    sees="abs(t - s) < 8",
)
class NarrowWindow(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        distance = torch.arange(q.shape[2])[:, None] - torch.arange(q.shape[2])
        hidden = (distance < 0) | (distance >= 7)
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v
