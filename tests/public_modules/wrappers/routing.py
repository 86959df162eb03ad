"""SelfAttention of routing-transformer: queries and keys meet in clusters, found by k-means."""

from routing_transformer.routing_transformer import SelfAttention

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(name="k-means", family="sparse", patterns="ns cs", summary="SelfAttention",
                  time="N (N / 16 + 16) d", memory="N (N / 16 + 16)", sees="chosen")  # fmt: skip
class Routing(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        longest, causal = 16 * max(2, self.max_length // 16), self.pattern.causal
        self.inner = SelfAttention(self.dim, 1, longest, self.heads, 0, 16, causal=causal)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        keep = None if key_padding_mask is None else ~key_padding_mask
        out, loss = self.inner(x, input_mask=keep)
        self.keep_auxiliary_loss(loss if self.training else None)
        return out

    def after_step(self):
        self.inner.global_attn.kmeans.update()
