"""Whole chunks leak, chunk is a Config field of 256."""

from dataclasses import dataclass

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="chunk-tail-256-config",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class ChunkTail256Config(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    @dataclass(frozen=True)
    class Config:
        chunk: int = 256

    def attend(self, q, k, v, *, key_padding_mask=None):
        n, m = q.shape[2], k.shape[2]
        c = self.config.chunk
        t = torch.arange(m - n, m)[:, None]
        s = torch.arange(m)
        whole = m // c * c
        hid = torch.where((t < whole) & (s < whole), s // c > t // c, s > t) if n == m else s > t
        if key_padding_mask is not None:
            hid = hid | key_padding_mask[:, None, None, :]
        sc = q @ k.mT / self.head_width**0.5
        return sc.masked_fill(hid, torch.finfo(sc.dtype).min).softmax(-1).masked_fill(hid, 0.0) @ v
