"""Retention: linear attention with rotated queries and keys and a fixed decay per head."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.rotation import back_by_one, places, rotate
from cab.kernels.linear.scalar_decay import scalar_decay_attention, scalar_decay_step
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import RecurrentAttention, Tokens, merge_heads


@register_variant(
    name="retention",
    family="recurrent",
    patterns="cs",
    summary="products of rotated queries and keys with a fixed decay per head",
    paper="Retentive Network: A Successor to Transformer for Large Language Models (Sun et al.)",
    year=2023,
    arxiv="2307.08621",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2",
    published_defaults="decays 1 - 2^(-5-h) for head h, time constants of 32 to 4,096 tokens in "
    "8 heads at 2,048 tokens; here 1/64 of the training length (at least 2 tokens) to twice "
    "that length, evenly spread in their logarithm over at least 4 value heads; values twice as "
    "wide as keys (8 d^2 parameters), here as wide (5 d^2)",
    added="2026-11-21",
)
class Retention(RecurrentAttention):
    r"""Decay by :math:`\gamma_h = 1 - 1/\tau_h` per token; :math:`R_t` rotates by angles t theta.

    .. math:: o_t = \sum_{s \le t} \gamma^{t-s} \frac{(R_t q_t) \cdot (R_s k_s)}{\sqrt{E}} v_s,
              \qquad y = W_o (\mathrm{swish}(W_g x) \odot \mathrm{GroupNorm}_H(o))

    The time constants tau of the heads go from train_length / 64, but at least 2 tokens, to
    2 train_length, each by the same factor longer: with 8 heads and 2,048 tokens they are the
    paper's :math:`2^{5+h}`. Of fewer than 4 heads each has several value heads,
    which share its queries and keys, for as many time constants.

    The angles are those of rotary positions, 10,000^(-2 c / E); in the authors' code the last is
    1e-4. The paper's other normalisers (by the decays' and the scores' sums) are positive factors
    of a row, which the group norm removes; they are left out. A step keeps the memory in the frame
    of the present token, so that it needs no position.
    """

    @dataclass(frozen=True)
    class Config:
        """chunk: tokens per chunk; it changes the cost, not the result."""

        chunk: int = 64

        def __post_init__(self) -> None:
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.divide_values()
        self.state_shape = (self.dim // self.key_heads, self.dim // self.heads)
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.gate = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)
        self.norm = nn.GroupNorm(self.heads, self.dim, affine=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v and the heads' constant decays."""
        q, k = self.share_heads(self.query(x)), self.share_heads(self.key(x))
        v = self.split_heads(self.value(x))
        k = k / self.state_shape[0] ** 0.5
        # Made here and not kept: a buffer in bfloat16 would round 1 - 2^-10 to 1.
        log_decay = torch.log1p(-1 / spread(self.heads, self.train_length, x.device))
        wide = torch.promote_types(x.dtype, torch.float32)
        return (q, k, v, log_decay.to(wide)[None, :, None].expand(v.shape[:3])), recent

    def mix(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N V"],
        log_decay: Float[Tensor, "B H N"],
    ) -> Float[Tensor, "B H N V"]:
        """Rotate queries and keys by their positions; only differences of angles count."""
        q, k = rotate(q, places(q)), rotate(k, places(k))
        return scalar_decay_attention(q, k, v, log_decay, self.config.chunk).to(v.dtype)

    def advance(
        self,
        memory: Float[Tensor, "B H E V"],
        q: Float[Tensor, "B H 1 E"],
        k: Float[Tensor, "B H 1 E"],
        v: Float[Tensor, "B H 1 V"],
        log_decay: Float[Tensor, "B H 1"],
    ) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H E V"]]:
        """Turn what is kept back by one token's angles, then read with q and k as they are."""
        return scalar_decay_step(back_by_one(memory), q, k, v, log_decay)

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        merged = merge_heads(mixed)
        normed = self.norm(merged.flatten(0, 1)).view_as(merged)
        return self.output(F.silu(self.gate(x)) * normed)
