"""Shared by gated-deltanet and comba: projections, decays and gate of a gated delta rule.

Dimensions: B batch, N length, D model width, R tokens that the short convolution looks back, C its
channels.
"""

from math import ceil
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    normalise,
    start_steps,
)


class GatedDelta(RecurrentAttention):
    """Queries and keys of norm 1, values, strengths and a decay per value head.

    The Config of a subclass has `key_share`, the width of keys over values, and `kernel`.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.divide_values()
        width = self.dim // self.heads
        self.state_shape = (ceil(self.config.key_share * (self.dim // self.key_heads)), width)
        self.keys = self.key_heads * self.state_shape[0]
        self.query = nn.Linear(self.dim, self.keys, bias=False)
        self.key = nn.Linear(self.dim, self.keys, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.convolution = ShortConvolution(2 * self.keys + self.dim, self.config.kernel)
        self.strength = nn.Linear(self.dim, self.heads, bias=False)
        self.decay = nn.Linear(self.dim, self.heads)
        self.log_rate = nn.Parameter(torch.empty(self.heads))
        start_steps(self.decay.bias, self.log_rate, self.train_length)
        self.gate = nn.Linear(self.dim, self.dim, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, the strengths in (0, 1) and the log decays."""
        projected = torch.cat((self.query(x), self.key(x), self.value(x)), dim=-1)
        convolved, recent = self.convolution(projected, recent)
        q, k, v = convolved.split((self.keys, self.keys, self.dim), dim=-1)
        q, k = normalise(self.share_heads(q)), normalise(self.share_heads(k))
        strength = self.strength(x).sigmoid().mT
        log_decay = (-self.log_rate.exp() * F.softplus(self.decay(x))).mT
        return (q, k, self.split_heads(v), strength, log_decay), recent
