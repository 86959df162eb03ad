"""Mamba-2: a selective state space with one decay per head, computed as masked attention."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.scalar_decay import scalar_decay_attention, scalar_decay_step
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    start_steps,
)


@register_variant(
    name="mamba2",
    family="recurrent",
    patterns="cs",
    summary="a selective state space model: step sizes, inputs and outputs depend on the token",
    paper="Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured "
    "State Space Duality (Dao, Gu)",
    year=2024,
    arxiv="2405.21060",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="expand E state_width + (kernel - 1) (expand d + 2 state_width) / H",
    published_defaults="expansion 2 (6 d^2 parameters), here 1 (3 d^2 and 2 state_width d); "
    "state 128 at head width 64, here 32 at 8; convolution of 4 tokens, as here; A in [1, 16] "
    "and steps in [0.001, 0.1] drawn, so time constants of 0.6 to 1,000 tokens; here A = 1, and "
    "the steps give time constants of 1/64 of the training length (at least 2 tokens) to twice "
    "that length, evenly spread in their logarithm over the heads",
    added="2026-11-21",
    used_by=(
        ("Nemotron Nano 2", "https://arxiv.org/abs/2508.14444"),
        ("Nemotron 3 Nano", "https://arxiv.org/abs/2512.20848"),
    ),
)
class Mamba2(RecurrentAttention):
    r"""Each head has a state of its values u; the decay, B and C depend on the token.

    .. math:: S_t = e^{\Delta_t A} S_{t-1} + B_t (\Delta_t u_t)^\top, \quad
              o_t = S_t^\top C_t + D u_t, \quad \Delta_t = \mathrm{softplus}(w^\top x_t + b)

    .. math:: y_t = W_o \mathrm{RMSNorm}(o_t \odot \mathrm{SiLU}(W_z x_t))

    (u, B, C) are SiLU of a short convolution of projections; all heads share B and C. So B is a
    key, C a query: :math:`o = (L \odot C B^\top) \Delta u` with L the products of decays. The norm
    is over all heads together. At the start A = -1, and the steps Delta of the heads are 1 / tau
    for time constants tau from train_length / 64, but at least 2 tokens, to 2 train_length, evenly
    spread in their logarithm.
    """

    @dataclass(frozen=True)
    class Config:
        """expand: width of u over d; state_width: of B and C; kernel, chunk in tokens.

        head_width: of the mechanism's own heads, which are not the layer's; where it does not
        divide u, there are as many as the layer has.
        """

        expand: int = 1
        state_width: int = 32
        head_width: int = 8
        kernel: int = 4
        chunk: int = 64

        def __post_init__(self) -> None:
            if min(vars(self).values()) < 1:
                raise ValueError(f"{', '.join(vars(self))} must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        inner, state = self.config.expand * self.dim, self.config.state_width
        if inner % self.config.head_width == 0:
            self.heads = inner // self.config.head_width
        self.state_shape = (state, inner // self.heads)
        self.parts = (inner, state, state)
        self.input = nn.Linear(self.dim, sum(self.parts), bias=False)
        self.convolution = ShortConvolution(sum(self.parts), self.config.kernel, bias=True)
        self.step_size = nn.Linear(self.dim, self.heads)
        self.log_rate = nn.Parameter(torch.empty(self.heads))
        start_steps(self.step_size.bias, self.log_rate, self.train_length)
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.gate = nn.Linear(self.dim, inner, bias=False)
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.output = nn.Linear(inner, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return C, B, u, the steps, and the log decays Delta A with A = -exp(a)."""
        convolved, recent = self.convolution(self.input(x), recent)
        u, b, c = convolved.split(self.parts, dim=-1)
        step = F.softplus(self.step_size(x)).mT
        log_decay = -self.log_rate.exp()[:, None] * step
        return (c[:, None], b[:, None], self.split_heads(u), step, log_decay), recent

    def mix(
        self,
        c: Float[Tensor, "B 1 N S"],
        b: Float[Tensor, "B 1 N S"],
        u: Float[Tensor, "B H N P"],
        step: Float[Tensor, "B H N"],
        log_decay: Float[Tensor, "B H N"],
    ) -> Float[Tensor, "B H N P"]:
        """Read S_t with C_t, in chunks, and add what passes the state by."""
        read = scalar_decay_attention(c, b, step[..., None] * u, log_decay, self.config.chunk)
        return read + self.skip[:, None, None] * u

    def advance(
        self,
        memory: Float[Tensor, "B H S P"],
        c: Float[Tensor, "B 1 1 S"],
        b: Float[Tensor, "B 1 1 S"],
        u: Float[Tensor, "B H 1 P"],
        step: Float[Tensor, "B H 1"],
        log_decay: Float[Tensor, "B H 1"],
    ) -> tuple[Float[Tensor, "B H 1 P"], Float[Tensor, "B H S P"]]:
        """Take one step of the recurrence."""
        read, memory = scalar_decay_step(memory, c, b, step[..., None] * u, log_decay)
        return read + self.skip[:, None, None] * u, memory

    def write(
        self, mixed: Float[Tensor, "B H N P"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Gate, normalise, project."""
        return self.output(self.norm(merge_heads(mixed) * F.silu(self.gate(x))))
