"""MesaNet: every token reads the ridge regression of values on keys over the whole past."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.least_squares import least_squares_attention, least_squares_step
from cab.kernels.linear.starting_gates import sigmoid_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    normalise,
)


@register_variant(
    name="mesanet",
    family="recurrent",
    patterns="cs",
    summary="in-context ridge regression of values on keys, solved for every query by conjugate "
    "gradients",
    paper="MesaNet: Sequence Modeling by Locally Optimal Test-Time Training (von Oswald et al.)",
    year=2025,
    arxiv="2506.05233",
    padding="distance",
    time="N steps d^2",
    memory="N steps d",
    state="E^2 max(1, ceil(4 / H) (E % ceil(4 / H) == 0)) + E^2 + 2 (kernel - 1) E",
    published_defaults="short convolutions of 4 tokens, a ridge of 1 that stays above 0.25, as "
    "here; 30 steps for heads of width 128, here 16, as wide as heads of tasks are; decays start "
    "near 0.5; here time constants of 1/64 of the training length (at least 2 tokens) to twice "
    "that length, evenly spread in their logarithm over at least 4 value heads",
    added="2026-11-30",
)
class MesaNet(RecurrentAttention):
    r"""Solve for the linear map from keys to values that fits the past best, and apply it to q.

    .. math:: o_t = G_t^\top (H_t + \Lambda)^{-1} q_t, \quad
              H_t = \gamma_t H_{t-1} + \beta_t k_t k_t^\top, \quad
              G_t = \gamma_t G_{t-1} + \beta_t k_t v_t^\top

    .. math:: \gamma_t = \sigma(w^\top x_t + b), \quad \beta_t = \sigma(u^\top x_t + c), \quad
              \Lambda = \mathrm{diag}(\mathrm{softplus}(l) + 0.25), \quad
              y_t = W_o \mathrm{RMSNorm}(o_t)

    q and k are SiLU of short convolutions of projections and have norm 1; v is a projection. The
    systems are solved by `steps` steps of conjugate gradients from 0, forwards and while decoding;
    in exact arithmetic E steps solve them, since they have E unknowns. Gradients pass through the
    steps. At the start Lambda = 1, and b gives time constants from train_length / 64, but at least
    2 tokens, to 2 train_length, evenly spread over the heads in their logarithm. Of fewer than 4
    heads each has several value heads, which share its queries and keys.
    """

    @dataclass(frozen=True)
    class Config:
        """steps of conjugate gradients; kernel, chunk (cost only): tokens."""

        steps: int = 16
        kernel: int = 4
        chunk: int = 32

        def __post_init__(self) -> None:
            if min(self.steps, self.kernel, self.chunk) < 1:
                raise ValueError("steps, kernel and chunk must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.divide_values()
        width, keys = self.dim // self.heads, self.dim // self.key_heads
        self.state_shape = (keys, keys + width)
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.convolution = ShortConvolution(2 * self.dim, self.config.kernel)
        self.strength = nn.Linear(self.dim, self.heads)
        self.decay = nn.Linear(self.dim, self.heads)
        with torch.no_grad():
            self.decay.bias.copy_(sigmoid_start(1 / spread(self.heads, self.train_length)))
        start = math.log(math.expm1(0.75))  # softplus gives 0.75
        self.ridge = nn.Parameter(torch.full((self.heads, keys), start))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def no_weight_decay(self) -> set[str]:
        """Name the ridge, as the authors do."""
        return {"ridge"}

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, beta, log gamma."""
        projected = torch.cat((self.query(x), self.key(x)), dim=-1)
        convolved, recent = self.convolution(projected, recent)
        q, k = (normalise(self.share_heads(part)) for part in convolved.chunk(2, dim=-1))
        strength, log_decay = self.strength(x).sigmoid().mT, F.logsigmoid(self.decay(x)).mT
        return (q, k, self.split_heads(self.value(x)), strength, log_decay), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read the regression of every token, in chunks."""
        config = self.config
        return least_squares_attention(*tokens, self._ridge(), config.steps, config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H K KE"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H K KE"]]:
        """Take one step of the recurrence, and solve its system."""
        return least_squares_step(memory, *tokens, self._ridge(), self.config.steps)

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, project."""
        return self.output(merge_heads(self.norm(mixed)))

    def _ridge(self) -> Float[Tensor, "H K"]:
        return F.softplus(self.ridge) + 0.25
