"""PaTH attention: positions as products of data-dependent Householder-like matrices."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.registry import register_variant
from cab.variants.softmax._householder import carried, householder_paths
from cab.variants.softmax._masked import hidden_pairs, masked_softmax
from cab.variants.softmax._reading import ReadingAttention


class PathCache(NamedTuple):
    """The decode state: keys carried to the present, values, and what w's convolution needs."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    recent: Float[Tensor, "B R D"]


@register_variant(
    name="path",
    family="softmax",
    patterns="cs",
    summary="softmax attention whose scores pass a data-dependent Householder-like matrix per "
    "token between key and query",
    paper="PaTH Attention: Position Encoding via Accumulating Householder Transformations (Yang, "
    "Shen, Wen, Tan, Mishra, Ren, Panda, Kim)",
    year=2025,
    arxiv="2505.16381",
    padding="distance",
    time="N^2 d + N^2 d E / block + N H block^2",
    memory="N^2",
    state="2 M E + (kernel - 1) E",
    published_defaults="w by a map of rank 32, here 16, which keeps the layer near softmax's "
    "size; convolutions of 3 tokens and blocks of 64, as here; no other positions, here whatever "
    "positions the backbone gives; with and without the forget gates of `fox`, here without",
    added="2026-11-30",
)
class PathAttention(ReadingAttention):
    r"""Let each token between a key and a query change the space in which they meet.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s
              \left(\frac{k_s^\top H_{s+1} H_{s+2} \cdots H_t q_t}{\sqrt{E}}\right) v_s, \quad
              H_l = I - \beta_l w_l w_l^\top, \quad \beta_l = 2 \sigma(u \cdot x_l + c)

    V_t are the unpadded positions up to t. w is a map of low rank of the stream, after a short
    causal convolution with SiLU, of norm 1 in each head; H takes out, or for :math:`\beta > 1`
    reflects, what lies along it. A padded token changes nothing, but stands between the tokens of
    the convolution. Decoding carries all keys on by one matrix per token, in constant work for
    each. The product has an order, which noncausal and cross patterns lack.
    """

    @dataclass(frozen=True)
    class Config:
        """rank: of the map to w. kernel: tokens of its convolution. block: of the algorithm."""

        rank: int = 16
        kernel: int = 3
        block: int = 64

        def __post_init__(self) -> None:
            if min(self.rank, self.kernel, self.block) < 1:
                raise ValueError("rank, kernel and block must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.direction = nn.Sequential(
            nn.Linear(self.dim, self.config.rank, bias=False),
            nn.Linear(self.config.rank, self.dim, bias=False),
        )
        self.convolution = nn.Conv1d(
            self.dim, self.dim, self.config.kernel, groups=self.dim, bias=False
        )
        self.strength = nn.Linear(self.dim, self.heads)

    def empty(self, x: Float[Tensor, "B N D"]) -> PathCache:
        """Return an empty cache; keys that are carried on want float32 at least."""
        nothing = x.new_zeros(x.shape[0], self.heads, 0, self.head_width)
        recent = x.new_zeros(x.shape[0], self.config.kernel - 1, self.dim)
        return PathCache(nothing.to(torch.promote_types(x.dtype, torch.float32)), nothing, recent)

    def read(
        self,
        x: Float[Tensor, "B N D"],
        state: PathCache,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N D"], PathCache]:
        """Return the outputs of tokens that follow the cache, and the cache with them."""
        q, k, v = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        w = self.direction(x)
        w = torch.cat((state.recent.to(w), w), dim=1)
        recent = w[:, w.shape[1] - self.config.kernel + 1 :]
        w = self.split_heads(F.silu(self.convolution(w.mT).mT))
        strength = 2 * self.strength(x).sigmoid().mT
        if key_padding_mask is not None:
            strength = strength.masked_fill(key_padding_mask[:, None], 0.0)
        new = householder_paths(
            q / self.head_width**0.5, k, _normalise(w), strength, block=self.config.block
        )
        scores = torch.cat((new.queries @ state.k.to(new.queries).mT, new.scores), dim=-1)
        k = torch.cat((carried(state.k, new.total), new.keys), dim=2)
        v = torch.cat((state.v.to(v), v), dim=2)
        hidden = hidden_pairs(q, k, causal=True, key_padding_mask=key_padding_mask)
        mixed = masked_softmax(scores, hidden).to(v.dtype) @ v
        return self.output(self.merge_heads(mixed)), PathCache(k, v, recent)


def _normalise(w: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    """Divide by the norm, in float32 at least; a vector of zeros stays, its gradient finite."""
    wide = w.to(torch.promote_types(w.dtype, torch.float32))
    return wide * (wide.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()
