"""Gated linear attention: every key channel of the state has a decay that depends on the token."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.time_constants import over_channels
from cab.kernels.linear.vector_decay import vector_decay_attention, vector_decay_step
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import RecurrentAttention, Tokens, merge_heads


@register_variant(
    name="gla",
    family="recurrent",
    patterns="cs",
    summary="linear attention with a data-dependent decay per key channel and an output gate",
    paper="Gated Linear Attention Transformers with Hardware-Efficient Training (Yang et al.)",
    year=2023,
    arxiv="2312.06635",
    time="N d^2",
    memory="N d",
    state="ceil(E / 2) E",
    published_defaults="keys half as wide as values, gates of rank 16 at temperature 16, as "
    "here; all gates start near 0.5, a time constant of 23 tokens; here time constants of 1/64 "
    "of the training length (at least 2 tokens) to twice that length, evenly spread in their "
    "logarithm over the key channels",
    added="2026-11-21",
)
class GatedLinearAttention(RecurrentAttention):
    r"""Decay each key channel by a gate near 1, a low-rank projection of the token.

    .. math:: \alpha_t = \sigma(W_2 W_1 x_t + b)^{1/\tau}, \quad
              S_t = \mathrm{diag}(\alpha_t) S_{t-1} + k_t v_t^\top, \quad
              o_t = S_t^\top q_t / \sqrt{K}

    .. math:: y_t = W_o (\mathrm{swish}(W_r x_t + b_r) \odot \mathrm{LayerNorm}(o_t))

    K = E / 2 is the keys' width per head (rounded up); the norm acts per head. b starts so that
    for x = 0 the time constants of the key channels go from train_length / 64, but at least 2
    tokens, to 2 train_length, evenly spread in their logarithm.
    """

    @dataclass(frozen=True)
    class Config:
        """rank of the gates; their temperature tau; chunk: tokens per chunk, a power of two."""

        rank: int = 16
        temperature: float = 16.0
        chunk: int = 32

        def __post_init__(self) -> None:
            if self.rank < 1 or self.temperature <= 0:
                raise ValueError("rank and temperature must be positive")
            if self.chunk < 1 or self.chunk & (self.chunk - 1):
                raise ValueError("chunk must be a power of two")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = self.dim // self.heads
        self.state_shape = ((width + 1) // 2, width)
        keys = self.heads * self.state_shape[0]
        self.query = nn.Linear(self.dim, keys, bias=False)
        self.key = nn.Linear(self.dim, keys, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.decay = nn.Sequential(
            nn.Linear(self.dim, self.config.rank, bias=False), nn.Linear(self.config.rank, keys)
        )
        tau = over_channels(self.heads, self.state_shape[0], self.train_length)
        strength = self.config.temperature / tau
        with torch.no_grad():  # the logit of exp(-strength)
            self.decay[1].bias.copy_(-strength - (-torch.expm1(-strength)).log())
        self.gate = nn.Linear(self.dim, self.dim)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, log alpha."""
        parts = (self.query, self.key, self.value, self.decay)
        q, k, v, decay = (self.split_heads(part(x)) for part in parts)
        log_decay = F.logsigmoid(decay) / self.config.temperature
        return (q / self.state_shape[0] ** 0.5, k, v, log_decay), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read S_t with q_t, in chunks."""
        return vector_decay_attention(*tokens, self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H K E"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H K E"]]:
        """Take one step of the recurrence."""
        return vector_decay_step(memory, *tokens)

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, gate, project."""
        return self.output(F.silu(self.gate(x)) * merge_heads(self.norm(mixed)))
