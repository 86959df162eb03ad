"""Powers of a decay and of its inverse overflow float32 beyond some 2,000 tokens."""

import torch

from cab.attention import MultiHeadAttention
from cab.registry import register_variant

BREAKS = "numerics"


@register_variant(
    name="overflows-beyond-2000",
    family="linear",
    patterns="cs",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
    padding="distance",
)
class OverflowsBeyond2000(MultiHeadAttention):
    """A sum with a decay."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        power = torch.arange(q.shape[2], dtype=q.dtype)[:, None] / 24
        if key_padding_mask is not None:
            k = k.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        return (q * (-power).exp() @ (k * power.exp()).mT).tril() @ v
