"""LlamaAttention of transformers, with its rotary positions, eager or through PyTorch's sdpa."""

from dataclasses import dataclass

import torch
from transformers.models.llama import modeling_llama as llama

from cab.attention import Attention, read_source
from cab.errors import UnsupportedWidth
from cab.registry import register_variant


@register_variant(name="llama", family="softmax", patterns="ns cs", summary="LlamaAttention",
                  time="N^2 d", memory="N^2", padding="distance")  # fmt: skip
class Llama(Attention):
    @dataclass(frozen=True)
    class Config:
        implementation: str = "eager"

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        if (self.dim // self.heads) % 2:
            raise UnsupportedWidth("Rotary positions turn pairs of channels: widths must be even.")
        options = {"hidden_size": self.dim, "num_attention_heads": self.heads}
        settings = llama.LlamaConfig(attn_implementation=self.config.implementation, **options)
        self.inner = llama.LlamaAttention(settings, layer_idx=0)
        self.rotary = llama.LlamaRotaryEmbedding(settings)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        n, low = x.shape[1], torch.finfo(x.dtype).min
        hidden = torch.ones(n, n, dtype=torch.bool).triu(1) & self.pattern.causal
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None]
        mask = torch.zeros_like(hidden, dtype=x.dtype).masked_fill(hidden, low)
        return self.inner(x, self.rotary(x, torch.arange(n)[None]), mask)[0]
