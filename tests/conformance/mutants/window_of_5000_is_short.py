"""A window of thousands of tokens is one shorter than the card says."""

from dataclasses import dataclass

import torch

from cab.attention import MultiHeadAttention
from cab.registry import register_variant

BREAKS = "liveness"


@register_variant(
    name="window-of-5000-is-short",
    family="sparse",
    patterns="cs",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
    sees="t - s < window",
    padding="distance",
)
class WindowOf5000IsShort(MultiHeadAttention):
    """Softmax attention with a planted fault."""

    @dataclass(frozen=True)
    class Config:
        """window: tokens that are read."""

        window: int = 5000

    def attend(self, q, k, v, *, key_padding_mask=None):
        t, s = torch.arange(q.shape[2])[:, None], torch.arange(k.shape[2])
        hidden = (s > t) | (t - s >= max(1, self.config.window - 1))
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None]
        scores = (q @ k.mT).masked_fill(hidden, -1e30)
        return scores.softmax(dim=-1).masked_fill(hidden, 0.0) @ v
