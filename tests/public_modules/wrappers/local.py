"""LocalMHA of local-attention: softmax attention in windows, with rotary positions."""

from dataclasses import dataclass

from local_attention.transformer import LocalMHA

from cab.attention import Attention, read_source
from cab.errors import UnsupportedWidth
from cab.registry import register_variant


@register_variant(name="local-mha", family="sparse", patterns="ns cs", summary="LocalMHA",
                  time="N window d", memory="N window", padding="distance",
                  sees="abs(t - s) <= window")  # fmt: skip
class Local(Attention):
    @dataclass(frozen=True)
    class Config:
        window: int = 16

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        width = self.dim // self.heads
        if width % 2:
            raise UnsupportedWidth("Rotary positions turn pairs of channels: widths must be even.")
        sizes = {"dim": self.dim, "heads": self.heads, "dim_head": width}
        self.inner = LocalMHA(window_size=self.config.window, causal=self.pattern.causal, **sizes)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        return self.inner(x, mask=None if key_padding_mask is None else ~key_padding_mask)
