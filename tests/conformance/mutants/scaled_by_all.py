"""Values are scaled by a statistic over the whole sequence, by a card that promises no reach."""

import torch

from cab.attention import MultiHeadAttention
from cab.registry import register_variant

BREAKS = "causality"


@register_variant(
    name="scaled-by-all",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
    sees="chosen",
)
class ScaledByAll(MultiHeadAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
        present = torch.ones_like(k[..., :1])
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
            present = (~key_padding_mask)[:, None, :, None].to(k.dtype)
        size = (v.square().mean(dim=-1, keepdim=True) * present).sum(dim=2, keepdim=True)
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        scale = (size / present.sum(dim=2, keepdim=True).clamp(min=1)).tanh()
        return weights.masked_fill(hidden, 0.0) @ v * scale
