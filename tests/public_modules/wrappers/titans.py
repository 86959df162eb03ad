"""NeuralMemory of titans-pytorch: a small network learns keys and values while it reads."""

from titans_pytorch import NeuralMemory

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(name="neural-memory", family="recurrent", patterns="cs", summary="NeuralMemory",
                  time="N d^2", memory="N d^2", padding="position",
                  sees="s == t or s < (t + 1) // 4 * 4")  # fmt: skip
class Titans(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        sizes = {"heads": self.heads, "dim_head": self.dim // self.heads}
        self.inner = NeuralMemory(self.dim, chunk_size=4, **sizes)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        keep = None if key_padding_mask is None else ~key_padding_mask
        return self.inner(x, store_mask=keep)[0]
