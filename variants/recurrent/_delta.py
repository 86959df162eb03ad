"""Shared parts of the delta rule's relatives with a decay per key channel: `kda` and `gdn2`.

Dimensions: B batch, N length, H heads, D model width, K and V widths of keys and values per head,
R tokens that the short convolution looks back, C its channels.
"""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.generalised_delta import (
    generalised_delta_attention,
    generalised_delta_step,
)
from cab.kernels.linear.starting_gates import softplus_start
from cab.kernels.linear.time_constants import over_channels
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    normalise,
)


class ChannelDelta(RecurrentAttention):
    """Erase by gates on the key's channels and write by gates on the value's, after a decay.

    S_t = (I - k_t (erase_t * k_t)^T) diag(exp(g_t)) S_{t-1} + k_t (write_t * v_t)^T is read with
    q_t. A subclass sets `state_shape` by `key_width`, and returns both gates from `gates`.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = self.dim // self.heads
        self.state_shape = (self.key_width(width), width)
        keys, rank = self.heads * self.state_shape[0], self.config.rank
        self.query = nn.Linear(self.dim, keys, bias=False)
        self.key = nn.Linear(self.dim, keys, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.convolution = ShortConvolution(2 * keys + self.dim, self.config.kernel)
        self.decay = _low_rank(self.dim, rank, keys)
        self.log_rate = nn.Parameter(torch.zeros(self.heads, 1, 1))
        step = 1 / over_channels(self.heads, self.state_shape[0], self.train_length)
        with torch.no_grad():
            self.decay[1].bias.copy_(softplus_start(step))
        self.gate = _low_rank(self.dim, rank, self.dim)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def key_width(self, width: int) -> int:
        """Return the width of keys for values of a width; the same by default."""
        return width

    def gates(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor]:
        """Return what is erased, (B, H, N, K) or (B, H, N, 1), and written, (.., V) or (.., 1)."""
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Name the rates of the decays, as the authors do."""
        return {"log_rate"}

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, what is erased, what is written, and the log decay."""
        projected = torch.cat((self.query(x), self.key(x), self.value(x)), dim=-1)
        convolved, recent = self.convolution(projected, recent)
        keys = self.query.out_features
        q, k, v = (self.split_heads(x) for x in convolved.split((keys, keys, self.dim), dim=-1))
        log_decay = -self.log_rate.exp() * F.softplus(self.split_heads(self.decay(x)))
        return (normalise(q), normalise(k), v, *self.gates(x), log_decay), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N V"]:
        """Read S_t with q_t, in chunks."""
        return generalised_delta_attention(*_generalised(*tokens), self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H K V"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
        """Take one step of the recurrence."""
        return generalised_delta_step(memory, *_generalised(*tokens))

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        return self.output(merge_heads(self.norm(mixed)) * self.gate(x).sigmoid())


def check_delta_config(rank: int, kernel: int, chunk: int) -> None:
    """Raise ValueError for settings of `ChannelDelta` that mean nothing."""
    if rank < 1 or kernel < 1:
        raise ValueError("rank and kernel must be at least 1")
    if chunk < 1 or chunk & (chunk - 1):
        raise ValueError("chunk must be a power of two")


def _low_rank(dim: int, rank: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, width))


def _generalised(
    q: Tensor, k: Tensor, v: Tensor, erase: Tensor, write: Tensor, log_decay: Tensor
) -> Tokens:
    """Return q, k, v, a, b, log decay of S <- (diag(exp(g)) + b a^T) S + k v^T."""
    return q, k, write * v, -(erase * k * log_decay.exp()), k, log_decay
