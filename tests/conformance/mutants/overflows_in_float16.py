"""A sum of thousands of values overflows float16 before it is divided."""

import torch

from cab.attention import MultiHeadAttention
from cab.registry import register_variant

BREAKS = "numerics"


@register_variant(
    name="overflows-in-float16",
    family="linear",
    patterns="cs",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
)
class OverflowsInFloat16(MultiHeadAttention):
    """A mean of the values."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        keys = torch.ones_like(k[..., :1])
        if key_padding_mask is not None:
            keys = keys.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        weights = (torch.ones_like(q[..., :1]) @ keys.mT).tril() * q.sigmoid().mean(-1, True)
        sums = weights @ torch.cat((v, torch.ones_like(v[..., :1])), dim=-1) * 64
        return sums[..., :-1] / (sums[..., -1:] + 1e-3)
