"""DeltaProduct: several steps of the gated delta rule for every token."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.delta_rule import delta_rule_attention, delta_rule_step
from cab.kernels.linear.time_constants import value_heads
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import (
    RecurrentAttention,
    ShortConvolution,
    Tokens,
    merge_heads,
    normalise,
    start_steps,
)


@register_variant(
    name="deltaproduct",
    family="recurrent",
    patterns="cs",
    summary="the gated delta rule with several keys and values, one step each, for every token",
    paper="DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products "
    "(Siems et al.)",
    year=2025,
    arxiv="2502.10297",
    padding="distance",
    time="N steps d^2",
    memory="N steps d",
    state="E ceil(value_share E) + (kernel - 1) ((1 + steps) E + steps ceil(value_share E))",
    published_defaults="1 to 4 steps, beta up to 2, short convolutions of 4 tokens, as here (2 "
    "steps); values at least as wide as keys, and an output gate (7 d^2 parameters at 2 steps), "
    "here half as wide, and no gate, as deltanet has none (4.5 d^2); rates in [0, 16] and steps "
    "in [0.001, 0.1] drawn; here as in gated-deltanet",
    added="2026-11-30",
)
class DeltaProduct(RecurrentAttention):
    r"""A state whose transition is a product of n generalised Householder matrices and a decay.

    .. math:: S_t = \Big(\prod_{j=1}^{n} (I - \beta_{tj} k_{tj} k_{tj}^\top)\Big) \alpha_t S_{t-1}
              + \sum_{j=1}^{n} \Big(\prod_{i=j+1}^{n} (I - \beta_{ti} k_{ti} k_{ti}^\top)\Big)
              \beta_{tj} k_{tj} v_{tj}^\top, \quad y_t = W_o \mathrm{RMSNorm}(S_t^\top q_t)

    Later factors stand to the left: the token decays the state, then takes n steps of the delta
    rule, each with a key (of norm 1), a value and a strength beta in (0, 2) of its own. A product
    of two reflections is a rotation, so n = 2 can follow the permutations of three things; n = 1
    is `gated-deltanet` with `negative`, without its gate. The decays :math:`\alpha_t` are made,
    and fewer than 4 heads divided into several value heads each, as in `gated-deltanet`.
    """

    @dataclass(frozen=True)
    class Config:
        """steps: n; value_share: width of values over keys; kernel: tokens; chunk: steps (cost
        only); negative: whether beta reaches 2 instead of 1.
        """

        steps: int = 2
        value_share: float = 0.5
        kernel: int = 4
        chunk: int = 64
        negative: bool = True

        def __post_init__(self) -> None:
            if min(self.steps, self.kernel, self.chunk) < 1:
                raise ValueError("steps, kernel and chunk must be at least 1")
            if self.value_share <= 0:
                raise ValueError("value_share must be positive")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        steps, keys = self.config.steps, self.dim // self.heads
        width = ceil(self.config.value_share * keys)
        self.heads *= value_heads(self.heads, width)
        width = width * self.key_heads // self.heads
        self.state_shape, self.inner = (keys, width), self.heads * width
        self.query = nn.Linear(self.dim, self.dim, bias=False)
        self.key = nn.Linear(self.dim, steps * self.dim, bias=False)
        self.value = nn.Linear(self.dim, steps * self.inner, bias=False)
        channels = (1 + steps) * self.dim + steps * self.inner
        self.convolution = ShortConvolution(channels, self.config.kernel)
        self.strength = nn.Linear(self.dim, steps * self.heads, bias=False)
        self.decay = nn.Linear(self.dim, self.heads)
        self.log_rate = nn.Parameter(torch.empty(self.heads))
        start_steps(self.decay.bias, self.log_rate, self.train_length)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.output = nn.Linear(self.inner, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, log alpha (B, H, N), and for each of the n steps k, v, beta (B, H, N, n)."""
        steps = self.config.steps
        projected = torch.cat((self.query(x), self.key(x), self.value(x)), dim=-1)
        convolved, recent = self.convolution(projected, recent)
        q, k, v = convolved.split((self.dim, steps * self.dim, steps * self.inner), dim=-1)
        k = self.share_heads(k).unflatten(-1, (steps, -1))
        k = normalise(k.flatten(2, 3)).view_as(k)
        v = self.split_heads(v).unflatten(-1, (steps, -1))
        strength = (1 + self.config.negative) * self.split_heads(self.strength(x)).sigmoid()
        log_decay = (-self.log_rate.exp() * F.softplus(self.decay(x))).mT
        return (normalise(self.share_heads(q)), k, v, strength, log_decay), recent

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor
    ) -> Float[Tensor, "B H N V"]:
        """Read S_t with q_t: each step is a token of the delta rule, the last one is read."""
        queries = F.pad(q[..., None, :], (0, 0, self.config.steps - 1, 0))
        decays = F.pad(log_decay[..., None], (0, self.config.steps - 1))
        steps = (part.flatten(2, 3) for part in (queries, k, v, strength, decays))
        read = delta_rule_attention(*steps, self.config.chunk)
        return read[:, :, self.config.steps - 1 :: self.config.steps]

    def advance(
        self, memory: Float[Tensor, "B H K V"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K V"]]:
        """Take the n steps of one token; all but the first without a decay."""
        q, k, v, strength, log_decay = tokens
        read = q
        for step in range(self.config.steps):
            one = (part[:, :, :, step] for part in (k, v, strength))
            read, memory = delta_rule_step(memory, q, *one, log_decay)
            log_decay = torch.zeros_like(log_decay)
        return read, memory

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Normalise each head, project."""
        return self.output(merge_heads(self.norm(mixed)))
