"""DeltaNet: a state in which a key replaces its stored value instead of adding to it."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.delta_rule import delta_rule_attention, delta_rule_step
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    normalise,
)


@register_variant(
    name="deltanet",
    family="recurrent",
    patterns="cs",
    summary="the delta rule: each token replaces the value that its key reads from the state",
    paper="Parallelizing Linear Transformers with the Delta Rule over Sequence Length "
    "(Yang, Wang, Zhang, Shen, Kim)",
    year=2024,
    arxiv="2406.06484",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2 + 3 (kernel - 1) E",
    published_defaults="short convolutions of 4 tokens, normalised queries and keys, as here",
    added="2026-11-21",
)
class DeltaNet(RecurrentAttention):
    r"""One step of gradient descent on :math:`|S^\top k_t - v_t|^2 / 2` at rate beta, per token.

    .. math:: S_t = (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top, \quad
              o_t = S_t^\top q_t, \quad \beta_t = \sigma(w^\top x_t)

    q, k, v are SiLU of short convolutions of projections; q and k then have norm 1, so that the
    state's transition never grows. Each head's answer passes an RMS norm. (The rule itself is of
    Schlag et al., 2021, arXiv 2102.11174.) With `negative`, beta is twice as large, in (0, 2): the
    transition then has eigenvalues in (-1, 1] and can follow a parity (Grazzi et al., 2024, arXiv
    2411.12537).
    """

    @dataclass(frozen=True)
    class Config:
        """kernel, chunk (cost only): tokens; negative: whether beta reaches 2 instead of 1."""

        kernel: int = 4
        chunk: int = 64
        negative: bool = False

        def __post_init__(self) -> None:
            if self.kernel < 1 or self.chunk < 1:
                raise ValueError("kernel and chunk must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        width = self.dim // self.heads
        self.state_shape = (width, width)
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, self.dim, bias=False)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.convolution = ShortConvolution(3 * self.dim, self.config.kernel)
        self.strength = nn.Linear(self.dim, self.heads, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, beta, and a decay of nothing."""
        projected = torch.cat((self.query(x), self.key(x), self.value(x)), dim=-1)
        convolved, recent = self.convolution(projected, recent)
        q, k, v = (self.split_heads(part) for part in convolved.chunk(3, dim=-1))
        strength = (1 + self.config.negative) * self.strength(x).sigmoid().mT
        return (normalise(q), normalise(k), v, strength, torch.zeros_like(strength)), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read S_t with q_t, in chunks."""
        return delta_rule_attention(*tokens, self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H E E"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H E E"]]:
        """Take one step of the recurrence."""
        return delta_rule_step(memory, *tokens)

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, project."""
        return self.output(merge_heads(self.norm(mixed)))
