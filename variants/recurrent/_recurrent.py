"""Shared parts of the recurrent mixers: the inputs of a whole sequence and of one step.

Dimensions: B batch, N length, H heads, E head width, D model width, K and V widths of the state,
R tokens that a short convolution looks back, C its channels.
"""

from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.kernels.linear.time_constants import spread, value_heads

Tokens = tuple[Tensor, ...]
"""Queries, keys, values, further gates, and last the log decay: what a kernel takes."""


class RecurrentState(NamedTuple):
    """The decode state: the memory, and what a short convolution still needs."""

    memory: Float[Tensor, "B H K V"]
    recent: Float[Tensor, "B R C"]


class ShortConvolution(nn.Module):
    """A causal depthwise convolution, then SiLU: a part of the delta rule's and Mamba's papers."""

    def __init__(self, channels: int, kernel: int, bias: bool = False) -> None:
        super().__init__()
        self.channels, self.reach = channels, kernel - 1
        self.convolution = nn.Conv1d(channels, channels, kernel, groups=channels, bias=bias)

    def forward(
        self, x: Float[Tensor, "B N C"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Float[Tensor, "B N C"], Float[Tensor, "B R C"]]:
        """Return the convolution of x, which follows `recent`, and what is recent after it."""
        x = torch.cat((recent.to(x.dtype), x), dim=1)
        return F.silu(self.convolution(x.mT).mT), x[:, x.shape[1] - self.reach :]


class RecurrentAttention(Attention):
    """A causal mixer with a state (K, V) per head: `read` tokens, `mix` or `advance`, `write`."""

    state_shape: tuple[int, int]
    writers: tuple[int, ...] = (1,)
    """Which of the tokens' parts change the memory, so that zeros there change nothing."""

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.convolution: ShortConvolution | None = None
        self.key_heads = self.heads

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return what the kernel takes, and what the short convolution will need next."""
        raise NotImplementedError

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N V"]:
        """Read the state at every position of a whole sequence."""
        raise NotImplementedError

    def advance(
        self, memory: Float[Tensor, "B H K V"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
        """Return what one token reads, and the memory after it."""
        raise NotImplementedError

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise, gate, project back to the stream."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the whole sequence; a padded token neither writes nor fades what is written."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        tokens, _ = self.read(x, self.nothing_recent(x.shape[0]))
        if key_padding_mask is not None:
            emptied = (*self.writers, len(tokens) - 1)
            tokens = tuple(
                _without(part, key_padding_mask) if number in emptied else part
                for number, part in enumerate(tokens)
            )
        return self.write(self.mix(*tokens), x)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RecurrentState:
        """Return an empty memory; its sums want float32 at least."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        recent = self.nothing_recent(batch)
        dtype = torch.promote_types(recent.dtype, torch.float32)
        memory = recent.new_zeros(batch, self.heads, *self.state_shape, dtype=dtype)
        return RecurrentState(memory, recent)

    def step(
        self, x: Float[Tensor, "B D"], state: RecurrentState
    ) -> tuple[Float[Tensor, "B D"], RecurrentState]:
        """Answer one token by the recurrence. See `Attention.step`."""
        token = x[:, None]
        tokens, recent = self.read(token, state.recent)
        mixed, memory = self.advance(state.memory, *tokens)
        return self.write(mixed, token)[:, 0], RecurrentState(memory, recent)

    def split_heads(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B H N E"]:
        """Cut channels into heads."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def share_heads(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B H N E"]:
        """Cut queries or keys into `key_heads`, and give each to all of its value heads."""
        apart = x.unflatten(-1, (self.key_heads, -1)).transpose(1, 2)
        return apart.repeat_interleave(self.heads // self.key_heads, dim=1)

    def divide_values(self) -> None:
        """Let `heads` count value heads, of which there are at least FEWEST_HEADS if possible."""
        self.heads *= value_heads(self.heads, self.dim // self.heads)

    def nothing_recent(self, batch: int) -> Float[Tensor, "B R C"]:
        """Return what stands before the first token: zeros for the short convolution, if any."""
        weight, short = next(self.parameters()), self.convolution
        size = (0, 0) if short is None else (short.reach, short.channels)
        return weight.new_zeros(batch, *size)


def _without(
    x: Float[Tensor, "B H N *K"], absent: Bool[Tensor, "B N"]
) -> Float[Tensor, "B H N *K"]:
    """Zero what belongs to absent tokens."""
    return x.masked_fill(absent[:, None].unflatten(2, (-1,) + (1,) * (x.dim() - 3)), 0.0)


def merge_heads(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B N D"]:
    """Undo `split_heads`."""
    return x.transpose(1, 2).flatten(-2)


def normalise(x: Float[Tensor, "B H N K"]) -> Float[Tensor, "B H N K"]:
    """Divide by the Euclidean norm, softly: a key of zeros stays zero, its gradient finite."""
    return x * (x.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()


@torch.no_grad()
def start_steps(bias: nn.Parameter, log_rate: nn.Parameter, train_length: int) -> None:
    """Start one decay exp(-A Delta) per head, with Delta = softplus(bias) and A = exp(log_rate).

    The rates A start at 1 and the steps at 1 / tau, with the time constants tau of
    `cab.kernels.linear.time_constants.spread`. Mamba-2 draws Delta in [0.001, 0.1] and A in
    [1, 16], so that tau = 1 / (A Delta) is between 0.6 and 1,000 tokens.
    """
    step = 1 / spread(len(bias), train_length)
    bias.copy_(step + (-torch.expm1(-step)).log())  # the inverse of softplus
    log_rate.zero_()
