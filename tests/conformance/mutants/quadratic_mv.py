"""All pairs in a matrix times a vector, of a view that costs no memory."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "cost"


@register_variant(
    name="quadratic-mv",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks cost",
    time="N d^2",
    memory="N d",
)
class QuadraticMv(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        n = q.shape[2]
        if key_padding_mask is not None:
            k = k.masked_fill(key_padding_mask[:, None, :, None], -1e30)
            v = v.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        wave = v[0, 0, :, 0].detach().repeat(2)
        torch.mv(wave.as_strided((n, n), (1, 1)), wave[:n])
        return q.softmax(dim=-1) @ (k.softmax(dim=2).mT @ v)
