"""SelfAttention and CrossAttention of performer-pytorch: random features of softmax."""

from performer_pytorch import CrossAttention, SelfAttention

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(name="favor", family="linear", patterns="ns cs nc", summary="FAVOR+",
                  time="N d^2", memory="N d^2")  # fmt: skip
class Performer(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        layer = CrossAttention if self.pattern.cross else SelfAttention
        sizes = {"heads": self.heads, "dim_head": self.dim // self.heads}
        self.inner = layer(self.dim, causal=self.pattern.causal, **sizes)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        keep = None if key_padding_mask is None else ~key_padding_mask
        if self.pattern.cross:
            return self.inner(x, context=source, context_mask=keep)
        return self.inner(x, mask=keep)
