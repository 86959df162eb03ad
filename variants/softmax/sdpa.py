"""Softmax attention by PyTorch's fused kernels: the same function as `softmax`."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import CachedAttention
from cab.registry import register_variant


@register_variant(
    name="sdpa",
    family="softmax",
    patterns="ns cs nc cc",
    summary="softmax attention by torch.nn.functional.scaled_dot_product_attention",
    paper="FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness "
    "(Dao et al.)",
    year=2022,
    arxiv="2205.14135",
    time="N^2 d",
    memory="N d",
    state="2 M E",
    exact=True,
    role="reimplementation",
    added="2026-11-21",
)
class FusedAttention(CachedAttention):
    """The formula of `softmax`; PyTorch chooses a fused kernel by device and mask."""

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o. In CS the queries are the last N of the M positions."""
        causal = self.pattern.causal and not self.pattern.cross
        queries, keys = q.shape[2], k.shape[2]
        if key_padding_mask is None and (not causal or queries == keys):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        visible = torch.ones(queries, keys, dtype=torch.bool, device=q.device)
        if causal:
            visible = visible.tril(keys - queries)
        if key_padding_mask is not None:
            visible = visible & ~key_padding_mask[:, None, None, :]
        # Kernels differ on rows that see nothing (NaN or 0): let them see all, then zero them.
        blind = ~visible.any(dim=-1, keepdim=True)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible | blind)
        return out.masked_fill(blind, 0.0)
