"""LinformerSelfAttention of linformer: keys and values are projected along the sequence."""

from linformer import LinformerSelfAttention

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(name="low-rank", family="sparse", patterns="ns nc",
                  summary="LinformerSelfAttention", time="N d", memory="N d",
                  padding="position", fixed_length=True)  # fmt: skip
class Linformer(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.inner = LinformerSelfAttention(self.dim, self.max_length, k=16, heads=self.heads)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        return self.inner(x, source if self.pattern.cross else None)
