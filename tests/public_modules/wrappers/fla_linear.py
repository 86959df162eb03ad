"""LinearAttention of flash-linear-attention, on its naive operator in place of Triton's."""

from unittest import mock

import torch
from fla.layers import linear_attn as fla
from fla.ops.linear_attn.naive import naive_recurrent_linear_attn

from cab.attention import Attention, read_source
from cab.registry import register_variant


def naive(q, k, v, cu_seqlens=None, **options):
    sizes = [q.shape[1]] if cu_seqlens is None else cu_seqlens.diff().tolist()
    rows = zip(*(one.split(sizes, dim=1) for one in (q, k, v)), strict=True)
    outputs = [naive_recurrent_linear_attn(*row, **options)[0] for row in rows]
    return torch.cat(outputs, dim=1), None


@register_variant(name="fla-linear", family="linear", patterns="cs", summary="LinearAttention",
                  time="N d E", memory="N d E")  # fmt: skip
class FlaLinear(Attention):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        sizes = {"hidden_size": self.dim, "num_heads": self.heads}
        self.inner = fla.LinearAttention(output_norm="identity", **sizes)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        keep = None if key_padding_mask is None else ~key_padding_mask
        operators = {"chunk_linear_attn": naive, "fused_recurrent_linear_attn": naive}
        with mock.patch.multiple(fla, **operators):
            return self.inner(x, keep)[0]
