"""S4D: every channel passes through damped oscillators, which is a long convolution."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.kernels.linear.diagonal import diagonal_state_space, diagonal_step
from cab.registry import register_variant


@register_variant(
    name="s4d",
    family="recurrent",
    patterns="ns cs",
    summary="a diagonal linear state space model per channel, bidirectional where not causal",
    paper="On the Parameterization and Initialization of Diagonal State Space Models "
    "(Gu, Gupta, Goel, Re)",
    year=2022,
    arxiv="2206.11893",
    padding="distance",
    time="N d (d + state + chunk)",
    memory="N d (1 + state / chunk) + d chunk (chunk + state)",
    state="E state",
    published_defaults="state 64, as here; steps drawn in [0.001, 0.1] for 1,024 tokens, time "
    "constants of 20 to 2,000 tokens; here scaled to the training length, at most 1 (2 tokens), "
    "and evenly spread in their logarithm over the channels; A and the steps learned at a lower "
    "rate, here at the task's",
    added="2026-11-21",
)
class S4D(Attention):
    r"""Per channel :math:`X' = A X + u`, y = C X + D u, with A diagonal, sampled at steps Delta.

    .. math:: y_t = D u_t + 2 \mathrm{Re} \sum_{s \le t} \sum_n
              C_n \frac{e^{\Delta A_n} - 1}{A_n} e^{(t - s) \Delta A_n} u_s, \qquad
              \text{out} = \mathrm{GLU}(W \mathrm{GELU}(y) + b)

    state = 2 n counts a conjugate pair as two. It starts as S4D-Lin, A_n = -1/2 + i pi n, and with
    steps from 0.001 to 0.1 times 1,024 / train_length, but at most 1, evenly spread over the
    channels in their logarithm: time constants 2 / Delta from 2 tokens, or train_length / 51, to
    2 train_length. Learned are offsets from there, which a module in bfloat16 still holds. NS is
    bidirectional: later tokens s > t pass a second C, at distance s - t - 1. The paper convolves
    by FFT; the blocks of the kernel compute the same, without the rounding by which an FFT lets
    the future through.
    """

    @dataclass(frozen=True)
    class Config:
        """state: real numbers per channel; steps Delta; chunk: tokens per chunk (cost only).

        The steps are those for 1,024 tokens.
        """

        state: int = 64
        shortest_step: float = 0.001
        longest_step: float = 0.1
        chunk: int = 64

        def __post_init__(self) -> None:
            if self.state < 2 or self.state % 2:
                raise ValueError("state must be even and positive: it is made of conjugate pairs")
            if not 0 < self.shortest_step <= self.longest_step:
                raise ValueError("shortest_step must be positive and no more than longest_step")
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        pairs, directions = self.config.state // 2, 1 if self.pattern.causal else 2
        self.step_offset = nn.Parameter(torch.zeros(self.dim))
        self.damping_offset = nn.Parameter(torch.zeros(self.dim, pairs))
        self.frequency_offset = nn.Parameter(torch.zeros(self.dim, pairs))
        self.reading = nn.Parameter(torch.randn(directions, self.dim, pairs, 2) * 0.5**0.5)
        self.skip = nn.Parameter(torch.randn(self.dim))
        self.output = nn.Linear(self.dim, 2 * self.dim)

    def no_weight_decay(self) -> set[str]:
        """Name the matrices among the parameters of A, as the authors' optimiser settings do."""
        return {"damping_offset", "frequency_offset"}

    def discretise(self) -> tuple[Complex[Tensor, "D S"], Complex[Tensor, "P D S"]]:
        """Return Delta A, and 2 C (exp(Delta A) - 1) / A for each direction."""
        damping, frequency, offset, reading = (
            parameter if parameter.dtype == torch.float64 else parameter.float()
            for parameter in (
                self.damping_offset, self.frequency_offset, self.step_offset, self.reading
            )
        )  # fmt: skip
        bounds = (self.config.shortest_step, self.config.longest_step)
        # A step of 1 is a time constant of 2 tokens.
        bounds = [math.log(min(1.0, step * 1024 / self.train_length)) for step in bounds]
        start = torch.linspace(*bounds, self.dim, dtype=offset.dtype, device=offset.device)
        step = (start + offset).exp()[:, None]
        harmonic = torch.arange(damping.shape[1], dtype=offset.dtype, device=offset.device)
        real, imaginary = -0.5 * damping.exp(), math.pi * harmonic + frequency
        x, y = step * real, step * imaginary
        # exp(x + iy) - 1 without cancellation where the step is short.
        grown = torch.complex(x.expm1() * y.cos() - 2 * (y / 2).sin().square(), x.exp() * y.sin())
        weight = 2 * torch.view_as_complex(reading.contiguous())
        return torch.complex(x, y), weight * grown / torch.complex(real, imaginary)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Convolve forwards, and in NS also backwards. Padding is silence. See `Attention`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        log_pole, weight = self.discretise()
        y = diagonal_state_space(x, log_pole, weight[0], self.config.chunk)
        if not self.pattern.causal:
            reverse = diagonal_state_space(x.flip(1), log_pole, weight[1], self.config.chunk)
            y = y + F.pad(reverse.flip(1)[:, 1:], (0, 0, 0, 1))
        return self._write(y, x)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B D S 2"]:
        """Return oscillators at rest: real and imaginary parts."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        dtype = torch.promote_types(self.skip.dtype, torch.float32)
        return self.skip.new_zeros(batch, *self.damping_offset.shape, 2, dtype=dtype)

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B D S 2"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D S 2"]]:
        """Let the oscillators swing for one step. See `Attention.step`."""
        log_pole, weight = self.discretise()
        y, swung = diagonal_step(torch.view_as_complex(state), x, log_pole, weight[0])
        return self._write(y, x), torch.view_as_real(swung)

    def _write(self, y: Float[Tensor, "*B D"], x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        return F.glu(self.output(F.gelu(y + self.skip * x)))
