"""Attention of x-transformers, in its own code or through PyTorch's sdpa (flash)."""

from dataclasses import dataclass

from x_transformers import x_transformers

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(name="x-attention", family="softmax", patterns="ns cs nc cc",
                  summary="Attention", time="N M d", memory="N M (1 - flash) + N d")  # fmt: skip
class XAttention(Attention):
    @dataclass(frozen=True)
    class Config:
        flash: bool = False

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        causal = self.pattern.causal and not self.pattern.cross
        sizes = {"dim": self.dim, "heads": self.heads, "dim_head": self.dim // self.heads}
        self.inner = x_transformers.Attention(causal=causal, flash=self.config.flash, **sizes)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        keep = None if key_padding_mask is None else ~key_padding_mask
        if self.pattern.cross:
            return self.inner(x, source, context_mask=keep)
        return self.inner(x, mask=keep)
