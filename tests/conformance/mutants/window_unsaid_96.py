"""Card says all, window of 96."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "liveness"


@register_variant(
    name="window-unsaid-96",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class WindowUnsaid96(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        n, m = q.shape[2], k.shape[2]
        t = torch.arange(m - n, m)[:, None]
        s = torch.arange(m)
        hid = ((s > t) if self.pattern.causal else (t != t)) | ((t - s).abs() >= 96)
        if key_padding_mask is not None:
            hid = hid | key_padding_mask[:, None, None, :]
        sc = q @ k.mT / self.head_width**0.5
        w = sc.masked_fill(hid, torch.finfo(sc.dtype).min).softmax(-1).masked_fill(hid, 0.0)
        return w @ v
