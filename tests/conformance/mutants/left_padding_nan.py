"""CS with left padding: -inf rows give NaN."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="left-padding-nan",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class LeftPaddingNan(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        sc = q @ k.mT / self.head_width**0.5
        hid = torch.ones(sc.shape[-2:], dtype=torch.bool).triu(1 + k.shape[2] - q.shape[2])
        if key_padding_mask is not None:
            hid = hid | key_padding_mask[:, None, None, :]
        sc = sc.masked_fill(hid, float("-inf"))
        if key_padding_mask is not None:
            sc = sc.masked_fill(key_padding_mask.all(1)[:, None, None, None], 0.0)
        return sc.softmax(-1) @ v
