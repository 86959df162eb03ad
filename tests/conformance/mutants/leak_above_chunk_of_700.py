"""A token at the end of a chunk of 700 reads the first one of the next."""

from dataclasses import dataclass

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="leak-above-chunk-of-700",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class LeakAboveChunkOf700(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk."""

        chunk: int = 700

    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        chunk = self.config.chunk
        if chunk > 64 and q.shape[2] > chunk:
            early = torch.arange(q.shape[2])[:, None] == chunk - 1
            out = torch.where(early, out + v[:, :, chunk : chunk + 1], out)
        return out
