"""TaylorSeriesLinearAttn: linear attention with the second-order Taylor series of exp."""

from taylor_series_linear_attention import TaylorSeriesLinearAttn

from cab.attention import Attention, read_source
from cab.registry import register_variant


@register_variant(name="taylor-series", family="linear", patterns="ns nc",
                  summary="TaylorSeriesLinearAttn", time="N d E^2", memory="N d E")  # fmt: skip
class Taylor(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        sizes = {"heads": self.heads, "dim_head": self.dim // self.heads}
        self.inner = TaylorSeriesLinearAttn(self.dim, **sizes)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        keep = None if key_padding_mask is None else ~key_padding_mask
        return self.inner(x, mask=keep, context=source if self.pattern.cross else None)
