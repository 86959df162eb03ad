"""SparseAttention of native-sparse-attention-pytorch: compressed, chosen and near tokens."""

from native_sparse_attention_pytorch import SparseAttention

from cab.attention import Attention, read_source
from cab.errors import UnsupportedWidth
from cab.registry import register_variant


@register_variant(name="native-sparse", family="sparse", patterns="cs", summary="SparseAttention",
                  time="N^2 d", memory="N^2", sees="chosen", padding="position")  # fmt: skip
class NativeSparse(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        width = self.dim // self.heads
        if width % 2:
            raise UnsupportedWidth("Rotary positions turn pairs of channels: widths must be even.")
        sizes = {"dim": self.dim, "heads": self.heads, "dim_head": width, "causal": True}
        blocks = {"selection_block_size": 8, "num_selected_blocks": 2, "sliding_window_size": 8}
        blocks |= {"compress_block_size": 8, "compress_block_sliding_stride": 4}
        self.inner = SparseAttention(**sizes, **blocks)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        return self.inner(x)
