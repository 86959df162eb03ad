"""Mamba-3: a state space with a trapezoidal rule, rotating states and several inputs at a time."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.kernels.linear.starting_gates import softplus_start
from cab.kernels.linear.time_constants import spread
from cab.kernels.linear.trapezoidal import trapezoidal_attention
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import merge_heads

LEAST_RATE = 1e-4
"""The slowest rate -A, which the authors' code sets too."""


class RotatingState(NamedTuple):
    """The decode state: S, the angles that it has turned by, and the last key and input."""

    memory: Float[Tensor, "B H K P"]
    angle: Float[Tensor, "B H A"]
    key: Float[Tensor, "B H R K"]
    value: Float[Tensor, "B H P"]


@register_variant(
    name="mamba3",
    family="recurrent",
    patterns="cs",
    summary="a selective state space model with a trapezoidal rule and states that rotate by "
    "angles of the data",
    paper="Mamba-3: Improved Sequence Modeling using State Space Principles (Lahoti, Li, Chen, "
    "Wang, Bick, Kolter, Dao, Gu)",
    year=2026,
    arxiv="2603.15569",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="expand E (state_width + 1) + ((state_width rotary) // 2 + rank state_width) "
    "(1 + ((expand d) % head_width == 0) (expand E / head_width - 1))",
    published_defaults="expansion 2 (6 d^2 parameters), here 1 (3 d^2 and 2 rank state_width d); "
    "state 128 at head width 64, here 16 at 8; half of the state's channels rotated, as here; "
    "rank 1 or 4, here 1; steps in [0.001, 0.1] drawn; here the steps give time constants of 1/64 "
    "of the training length (at least 2 tokens) to twice that length, evenly spread in their "
    "logarithm over the heads; a norm before the output projection in hybrids, here none",
    added="2026-11-30",
)
class Mamba3(Attention):
    r"""Each head has a state of its inputs u; B is a key and C a query, both rotated.

    .. math:: S_t = \alpha_t S_{t-1} + (1 - \lambda_t) \Delta_t \alpha_t B_{t-1} u_{t-1}^\top
              + \lambda_t \Delta_t B_t u_t^\top, \quad \alpha_t = e^{\Delta_t A_t}, \quad
              o_t = S_t^\top C_t + D u_t

    .. math:: B_t = R(\phi_t) (\mathrm{RMSNorm}(W_B x_t) + b_B), \quad
              C_t = R(\phi_t) (\mathrm{RMSNorm}(W_C x_t) + b_C), \quad
              \phi_t = \phi_{t-1} + \pi \Delta_t \tanh(W_\theta x_t), \quad
              y_t = W_o (o_t \odot \mathrm{SiLU}(W_z x_t))

    R rotates pairs of neighbouring channels, which is a complex state in real numbers; the angles'
    rates are shared by the heads, the biases b are of each head. :math:`\Delta_t =
    \mathrm{softplus}(w^\top x_t + b)`, :math:`\lambda_t = \sigma(w_\lambda^\top x_t)` and
    :math:`A_t = -g(w_A^\top x_t)`, with g(z) = 1 + z above 0 and 1 / (1 - z) below, as the
    authors' code has it. There is no short convolution. With a rank R above 1 a token writes and
    asks R times: B and C have R rows, u and z are multiplied by a learned vector for each of them,
    and the gated outputs are added with learned weights. At the start A = -1 where x = 0, and the
    steps Delta of the heads are 1 / tau for time constants tau from train_length / 64, but at
    least 2 tokens, to 2 train_length, evenly spread in their logarithm. A padded token neither
    writes, fades nor turns, but after it the trapezoidal rule has nothing to take from before.
    """

    @dataclass(frozen=True)
    class Config:
        """expand: width of u over d; state_width: of B and C; rank: R; chunk: in tokens.

        rotary: share of the state's channels that rotate. head_width: of the mechanism's own
        heads, which are not the layer's; where it does not divide u, there are as many as the
        layer has.
        """

        expand: int = 1
        state_width: int = 16
        head_width: int = 8
        rank: int = 1
        rotary: float = 0.5
        chunk: int = 64

        def __post_init__(self) -> None:
            counts = {name: one for name, one in vars(self).items() if name != "rotary"}
            if min(counts.values()) < 1:
                raise ValueError(f"{', '.join(counts)} must be at least 1")
            if not 0 <= self.rotary <= 1:
                raise ValueError("rotary must be a share from 0 to 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        inner, state, rank = (
            self.config.expand * self.dim,
            self.config.state_width,
            self.config.rank,
        )
        if inner % self.config.head_width == 0:
            self.heads = inner // self.config.head_width
        self.pairs = int(state * self.config.rotary // 2)
        self.parts = (inner, rank * state, rank * state, self.pairs, self.heads, self.heads)
        self.input = nn.Linear(self.dim, sum(self.parts), bias=False)
        self.step_size = nn.Linear(self.dim, self.heads)
        with torch.no_grad():
            self.step_size.bias.copy_(softplus_start(1 / spread(self.heads, self.train_length)))
        self.key_norm, self.query_norm = nn.RMSNorm(state, eps=1e-5), nn.RMSNorm(state, eps=1e-5)
        self.key_bias = nn.Parameter(torch.ones(self.heads, rank, state))
        self.query_bias = nn.Parameter(torch.ones(self.heads, rank, state))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.gate = nn.Linear(self.dim, inner, bias=False)
        if rank > 1:
            shape = (self.heads, rank, inner // self.heads)
            self.inputs = nn.Parameter(torch.full(shape, 1 / rank))
            self.gates = nn.Parameter(torch.ones(shape))
            self.outputs = nn.Parameter(torch.full(shape, 1 / rank))
        self.output = nn.Linear(inner, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix the whole sequence, in chunks. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        return self._mix(x, self.initial_state(len(x)), key_padding_mask)[0]

    def initial_state(  # type: ignore[override]
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RotatingState:
        """Return an empty state that has not turned. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        like, keys = self.output.weight, self.config.state_width
        width = like.shape[1] // self.heads
        wide = torch.promote_types(like.dtype, torch.float32)
        return RotatingState(
            like.new_zeros(batch, self.heads, keys, width, dtype=wide),
            like.new_zeros(batch, self.heads, self.pairs, dtype=torch.float64),
            like.new_zeros(batch, self.heads, self.config.rank, keys, dtype=wide),
            like.new_zeros(batch, self.heads, width, dtype=wide),
        )

    def step(  # type: ignore[override]
        self, x: Float[Tensor, "B D"], state: RotatingState
    ) -> tuple[Float[Tensor, "B D"], RotatingState]:
        """Take one step of the recurrence. See `Attention.step`."""
        out, state = self._mix(x[:, None], state)
        return out[:, 0], state

    def prefill(  # type: ignore[override]
        self, x: Float[Tensor, "B N D"], state: RotatingState
    ) -> tuple[Float[Tensor, "B N D"], RotatingState]:
        """Answer N tokens at once, in chunks. See `Attention.prefill`."""
        return self._mix(x, state) if x.shape[1] else (x, state)

    def _mix(
        self,
        x: Float[Tensor, "B N D"],
        state: RotatingState,
        absent: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N D"], RotatingState]:
        u, b, c, turn, rate, mixing = self.input(x).split(self.parts, dim=-1)
        step = F.softplus(self.step_size(x)).mT  # (B, H, N)
        if absent is not None:
            step = step.masked_fill(absent[:, None], 0.0)
        log_decay = -step * _positive(rate.mT).clamp(min=LEAST_RATE)
        own = step * mixing.mT.sigmoid()
        turned = math.pi * step[..., None] * turn.tanh()[:, None]
        angle = state.angle[:, :, None] + turned.double().cumsum(dim=2)
        q, k = (
            _rotate(_normed(part, norm, bias), angle)
            for part, norm, bias in (
                (c, self.query_norm, self.query_bias),
                (b, self.key_norm, self.key_bias),
            )
        )
        u = u.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        v, last_v = self._ranks(u, "inputs"), self._ranks(state.value[:, :, None], "inputs")
        read, memory = trapezoidal_attention(
            q, k, v, own, step - own, log_decay, state.memory, state.key, last_v[:, :, 0],
            self.config.chunk,
        )  # fmt: skip
        out = read.to(v.dtype) + self.skip[:, None, None, None] * v
        gate = self.gate(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = out * F.silu(self._ranks(gate, "gates"))
        mixed = (out if self.config.rank == 1 else out * self.outputs[:, None]).sum(dim=3)
        key, value = k[:, :, -1].to(state.key.dtype), u[:, :, -1].to(state.value.dtype)
        after = RotatingState(memory, angle[:, :, -1] % (2 * math.pi), key, value)
        return self.output(merge_heads(mixed)), after

    def _ranks(self, x: Float[Tensor, "B H N P"], weights: str) -> Float[Tensor, "B H N R P"]:
        """Multiply by a learned vector for each of the R ranks, if there are several."""
        x = x[:, :, :, None]
        return x if self.config.rank == 1 else x * getattr(self, weights)[:, None]


def _normed(
    x: Float[Tensor, "B N C"], norm: nn.RMSNorm, bias: Float[Tensor, "H R K"]
) -> Float[Tensor, "B H N R K"]:
    """Normalise each of R rows, and add a bias for each head."""
    rows = norm(x.unflatten(-1, bias.shape[1:]).to(bias.dtype))
    return rows[:, None] + bias[:, None]


def _positive(x: Tensor) -> Tensor:
    """1 + x above 0, 1 / (1 - x) below: positive, with one slope where both meet."""
    return x.clamp(min=0) + 1 / (1 - x.clamp(max=0))


def _rotate(
    x: Float[Tensor, "B H N R K"], angle: Float[Tensor, "B H N A"]
) -> Float[Tensor, "B H N R K"]:
    """Rotate the first A pairs of neighbouring channels; the angles are in float64."""
    wide = torch.promote_types(x.dtype, torch.float32)
    cosine, sine = (one.to(wide)[:, :, :, None] for one in (angle.cos(), angle.sin()))
    pairs, rest = x[..., : 2 * angle.shape[-1]], x[..., 2 * angle.shape[-1] :]
    first, second = pairs[..., 0::2], pairs[..., 1::2]
    turned = torch.stack((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
    return torch.cat((turned.flatten(-2), rest.to(wide)), dim=-1)
