"""Log-linear attention: Mamba-2 with a state for every level of a binary tree over the past."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.log_linear import log_linear_attention, log_linear_step
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    start_steps,
)


class LevelState(NamedTuple):
    """The decode state: a memory for each level in use, what the convolution needs, the length."""

    memory: Float[Tensor, "B H T S P"]
    recent: Float[Tensor, "B R C"]
    length: Int[Tensor, " B"]


@register_variant(
    name="log-linear",
    family="recurrent",
    patterns="cs",
    summary="mamba2 with log N states, one for each level of a Fenwick tree, weighed by the token",
    paper="Log-Linear Attention (Guo et al.)",
    year=2025,
    arxiv="2506.04761",
    padding="position",
    time="N log(N) d^2",
    memory="N log(N) d",
    state="(1 + ceil(log(max(M, 1)))) E state_width + ((kernel - 1) (d + 2 state_width) + 1) / H",
    published_defaults="expansion 2, state 128 at head width 64, a weight for each level up to "
    "16,384 tokens; here expansion 1, state 24 at head width 8, weights for 8 levels, the last "
    "also for all above; convolution of 4 tokens, as here; A and steps as in mamba2",
    added="2026-11-30",
)
class LogLinearAttention(RecurrentAttention):
    r"""Weigh the past by its distance in powers of two: a state, and a weight, for each.

    .. math:: o_t = \sum_{l} \lambda_t^{(l)} \Big(\sum_{s \in \mathcal{B}_t^{(l)}}
              e^{\sum_{r=s+1}^{t} \Delta_r A}\, B_s (\Delta_s u_s)^\top\Big)^\top C_t + D u_t,
              \quad \lambda_t = \mathrm{softplus}(\ell \odot W_\lambda x_t)

    .. math:: y_t = W_o \mathrm{RMSNorm}(o_t \odot \mathrm{SiLU}(W_z x_t))

    The level l of s at t is the number of binary digits of t xor s, counted from position 0: the
    token itself is level 0, and level l holds 2^(l-1) tokens or none. With all weights equal this
    is `mamba2`, from which all other parts are: u, B, C, the steps Delta, A, D and their starts.
    There is one weight per head and level; levels above the last share it. l starts at 1.
    """

    @dataclass(frozen=True)
    class Config:
        """levels that have a weight of their own; state_width: of B and C; head_width: of the
        mechanism's heads (where it does not divide d there are as many as the layer has);
        kernel: tokens; chunk: a power of two (cost only).
        """

        levels: int = 8
        state_width: int = 24
        head_width: int = 8
        kernel: int = 4
        chunk: int = 32

        def __post_init__(self) -> None:
            if min(vars(self).values()) < 1:
                raise ValueError(f"{', '.join(vars(self))} must be at least 1")
            if self.chunk & (self.chunk - 1):
                raise ValueError("chunk must be a power of two")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        state, levels = self.config.state_width, self.config.levels
        if self.dim % self.config.head_width == 0:
            self.heads = self.dim // self.config.head_width
        self.state_shape = (state, self.dim // self.heads)
        self.parts = (self.dim, state, state)
        self.input = nn.Linear(self.dim, sum(self.parts), bias=False)
        self.convolution = ShortConvolution(sum(self.parts), self.config.kernel, bias=True)
        self.step_size = nn.Linear(self.dim, self.heads)
        self.log_rate = nn.Parameter(torch.empty(self.heads))
        start_steps(self.step_size.bias, self.log_rate, self.train_length)
        self.level = nn.Linear(self.dim, self.heads * levels, bias=False)
        self.level_scale = nn.Parameter(torch.ones(self.heads * levels))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.gate = nn.Linear(self.dim, self.dim, bias=False)
        self.norm = nn.RMSNorm(self.dim, eps=1e-5)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return C, B, u, the steps, the weights of levels, and the log decays."""
        convolved, recent = self.convolution(self.input(x), recent)
        u, b, c = convolved.split(self.parts, dim=-1)
        step = F.softplus(self.step_size(x)).mT
        weights = self.split_heads(F.softplus(self.level_scale * self.level(x)))
        log_decay = -self.log_rate.exp()[:, None] * step
        return (c[:, None], b[:, None], self.split_heads(u), step, weights, log_decay), recent

    def mix(
        self, c: Tensor, b: Tensor, u: Tensor, step: Tensor, weights: Tensor, log_decay: Tensor
    ) -> Float[Tensor, "B H N P"]:
        """Read the states of all levels with C_t, in chunks, and add what passes them by."""
        written = step[..., None] * u
        read = log_linear_attention(c, b, written, weights, log_decay, self.config.chunk)
        return read + self.skip[:, None, None] * u

    def write(
        self, mixed: Float[Tensor, "B H N P"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Gate, normalise, project."""
        return self.output(self.norm(merge_heads(mixed) * F.silu(self.gate(x))))

    def initial_state(  # type: ignore[override]
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> LevelState:
        """Return the state before the first token: level 0 alone, and empty."""
        memory, recent = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        length = torch.zeros(batch, dtype=torch.long, device=memory.device)
        return LevelState(memory[:, :, None], recent, length)

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B D"], state: LevelState
    ) -> tuple[Float[Tensor, "B D"], LevelState]:
        """Answer one token; its position says which levels join. See `Attention.step`."""
        token, position = x[:, None], int(state.length.max()) if len(x) else 0
        (c, b, u, step, weights, log_decay), recent = self.read(token, state.recent)
        written = step[..., None] * u
        read, memory = log_linear_step(state.memory, c, b, written, weights, log_decay, position)
        mixed = read + self.skip[:, None, None] * u
        return self.write(mixed, token)[:, 0], LevelState(memory, recent, state.length + 1)
