"""TTT-Linear: the state is a linear model, trained on the tokens by gradient descent."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.kernels.linear.precision import in_float32
from cab.kernels.linear.scan import in_chunks
from cab.registry import register_variant

EPSILON = 1e-6
"""Of the inner layer norm."""


class InnerState(NamedTuple):
    """The decode state: W and b (the last row), their gradient so far, and the place."""

    weight: Float[Tensor, "B H F E"]
    gradient: Float[Tensor, "B H F E"]
    place: Int[Tensor, "B H"]


@register_variant(
    name="ttt",
    family="recurrent",
    patterns="cs",
    summary="a linear model per head, trained on the tokens by mini-batches of gradient descent",
    paper="Learning to (Learn at Test Time): RNNs with Expressive Hidden States (Sun et al.)",
    year=2024,
    arxiv="2407.04620",
    padding="position",
    time="N d^2",
    memory="N d",
    state="2 E (E + 1) + 1",
    published_defaults="mini-batches of 16 and a rate of 1 for the linear model, as here; rotary "
    "positions within a mini-batch, and in the Mamba backbone a gate and short convolutions; here "
    "none of these",
    added="2026-11-30",
)
class TTTLinear(Attention):
    r"""Train f on keys to give values, one gradient step per token, and ask it with the query.

    .. math:: f(x; W, b) = x + \mathrm{LN}(x W + b), \quad
              W_t = W_{t'} - c_{i} \sum_{t' < s \le t} \eta_s
              \nabla_W \tfrac12 \lVert f(k_s; W_{t'}, b_{t'}) - v_s \rVert^2, \quad
              o_t = f(q_t; W_t, b_t)

    .. math:: \eta_s = \sigma(w_\eta x_s + b_\eta) / E, \quad
              c_i = \max(0, 1 / i + \delta_i), \qquad y = W_o \mathrm{LN}(o)

    t' is the last token before the mini-batch of token t, in which t has place i, from 1; b is
    learned like W. The gradients of a mini-batch are taken at one W, so they are found together,
    and its outputs are one masked product (the paper's dual form). W_0, b_0, delta, the norm of f
    and the rates are learned by the outer loop. The step from one mini-batch to the next is not
    linear in W, so the code loops over mini-batches, N / 16 of them.
    """

    @dataclass(frozen=True)
    class Config:
        """batch: tokens in a mini-batch. rate: factor of all eta."""

        batch: int = 16
        rate: float = 1.0

        def __post_init__(self) -> None:
            if self.batch < 1 or self.rate <= 0:
                raise ValueError("batch must be at least 1 and rate positive")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.width = self.dim // self.heads
        self.query, self.key, self.value = (
            nn.Linear(self.dim, self.dim, bias=False) for _ in range(3)
        )
        self.rate = nn.Linear(self.dim, self.heads)
        nn.init.normal_(self.rate.weight, std=0.02)
        nn.init.zeros_(self.rate.bias)
        start = torch.zeros(self.heads, self.width + 1, self.width)
        start[:, :-1] = 0.02 * torch.randn(self.heads, self.width, self.width)
        self.start = nn.Parameter(start)
        self.shares = nn.Parameter(torch.zeros(self.config.batch))
        self.scale = nn.Parameter(torch.ones(self.heads, 1, self.width))
        self.shift = nn.Parameter(torch.zeros(self.heads, 1, self.width))
        self.norm = nn.LayerNorm(self.dim, eps=1e-6)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Train and ask mini-batch by mini-batch; padded tokens have a rate of 0."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v, eta = self._read(x)
        if key_padding_mask is not None:
            eta = eta.masked_fill(key_padding_mask[:, None, :, None], 0.0)
        out = _run(q, k, v, eta, *self._fixed())
        return self._write(out[:, :, : x.shape[1]].to(x.dtype))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> InnerState:
        """Return the model that the outer loop learned."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        start = self.start.to(torch.promote_types(self.start.dtype, torch.float32))
        start = start.expand(batch, -1, -1, -1)
        place = torch.zeros(batch, self.heads, dtype=torch.long, device=start.device)
        return InnerState(start, torch.zeros_like(start), place)

    def step(
        self, x: Float[Tensor, "B D"], state: InnerState
    ) -> tuple[Float[Tensor, "B D"], InnerState]:
        """Take one gradient step and ask. See `Attention.step`."""
        q, k, v, eta = self._read(x[:, None])
        mixed, state = _advance(q, k, v, eta, state, *self._fixed())
        return self._write(mixed.to(x.dtype))[:, 0], state

    def _read(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        eta = (self.config.rate / self.width) * self.rate(x).sigmoid()
        return q, k, v, eta.mT[..., None]

    def _fixed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return W_0 and b_0, the norm's scale and shift, and c."""
        wide = torch.promote_types(self.shares.dtype, torch.float32)
        place = torch.arange(1, self.config.batch + 1, device=self.shares.device, dtype=wide)
        return self.start, self.scale, self.shift, (1 / place + self.shares).clamp(min=0)

    def _write(self, mixed: Float[Tensor, "B H N E"]) -> Float[Tensor, "B N D"]:
        return self.output(self.norm(mixed.transpose(1, 2).flatten(-2)))


@in_float32
def _run(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    eta: Float[Tensor, "B H N 1"],
    start: Float[Tensor, "H F E"],
    scale: Float[Tensor, "H 1 E"],
    shift: Float[Tensor, "H 1 E"],
    shares: Float[Tensor, " C"],
) -> Float[Tensor, "B H L E"]:
    """Return f(q_t; W_t, b_t), for as many tokens as whole mini-batches have."""
    batch = min(len(shares), q.shape[2])
    q, k = (torch.cat((x, torch.ones_like(x[..., :1])), dim=-1) for x in (q, k))
    q, k, v, eta = (in_chunks(x, batch).unbind(2) for x in (q, k, v, eta))
    weight, shares, outputs = start, shares[:batch, None], []
    for asked, read, target, rate in zip(q, k, v, eta, strict=True):
        gradient = rate * _gradient(read @ weight, read[..., :-1], target, scale, shift)
        scores = (asked @ read.mT).tril()
        inner = asked @ weight - shares * (scores @ gradient)
        outputs.append(asked[..., :-1] + _normed(inner)[0] * scale + shift)
        weight = weight - shares[-1] * (read.mT @ gradient)
    return torch.cat(outputs, dim=2)


@in_float32
def _advance(
    q: Float[Tensor, "B H 1 E"],
    k: Float[Tensor, "B H 1 E"],
    v: Float[Tensor, "B H 1 E"],
    eta: Float[Tensor, "B H 1 1"],
    state: InnerState,
    start: Float[Tensor, "H F E"],
    scale: Float[Tensor, "H 1 E"],
    shift: Float[Tensor, "H 1 E"],
    shares: Float[Tensor, " C"],
) -> tuple[Float[Tensor, "B H 1 E"], InnerState]:
    """Return f(q; W_t, b_t), and the state after the token."""
    q, k = (torch.cat((x, torch.ones_like(x[..., :1])), dim=-1) for x in (q, k))
    inner = k @ state.weight
    error = eta * _gradient(inner, k[..., :-1], v, scale, shift)
    gradient = state.gradient + k.mT * error
    weight = state.weight - shares[state.place][..., None, None] * gradient
    out = q[..., :-1] + _normed(q @ weight)[0] * scale + shift
    place = (state.place + 1) % len(shares)
    last = (place == 0)[..., None, None]
    weight = torch.where(last, weight, state.weight)
    return out, InnerState(weight, gradient.masked_fill(last, 0.0), place)


def _normed(x: Float[Tensor, "*B E"]) -> tuple[Float[Tensor, "*B E"], Float[Tensor, "*B 1"]]:
    """Return x with mean 0 and variance 1, and the factor that made it so."""
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    factor = (variance + EPSILON).rsqrt()
    return (x - mean) * factor, factor


def _gradient(
    inner: Float[Tensor, "*B E"],
    read: Float[Tensor, "*B E"],
    target: Float[Tensor, "*B E"],
    scale: Float[Tensor, "H 1 E"],
    shift: Float[Tensor, "H 1 E"],
) -> Float[Tensor, "*B E"]:
    """Return the derivative of |read + LN(inner) - target|^2 / 2 by inner."""
    normed, factor = _normed(inner)
    slope = (read + normed * scale + shift - target) * scale
    along = (slope * normed).mean(dim=-1, keepdim=True)
    return (slope - slope.mean(dim=-1, keepdim=True) - normed * along) * factor
