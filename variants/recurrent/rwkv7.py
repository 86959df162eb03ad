"""RWKV-7: a generalised delta rule, with a decay and a learning rate for every channel."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.generalised_delta import (
    generalised_delta_attention,
    generalised_delta_step,
)
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import RecurrentAttention, Tokens, merge_heads, normalise

SHIFTS = {"receptance": 0.2, "decay": 0.9, "key": 0.7, "value": 0.7, "rate": 0.9, "gate": 0.2}
"""What is projected from a mixture of a token and the one before, and how its share starts."""


@register_variant(
    name="rwkv7",
    family="recurrent",
    patterns="cs",
    summary="delta rule with vector decays and in-context learning rates, after a token shift",
    paper='RWKV-7 "Goose" with Expressive Dynamic State Evolution (Peng et al.)',
    year=2025,
    arxiv="2503.14456",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2 + E",
    published_defaults="gates of ranks near d / 12 (64 and 128 at d = 768), here 8 for d of 64; "
    "decays start between exp(-0.0009) and exp(-0.11) over the channels, time constants of "
    "1,100 to 9 tokens; here of twice the training length to 1/64 of it (at least 2 tokens), "
    "evenly spread in their logarithm; the decays' biases learned at twice the rate, here at "
    "the task's; W_o = 0 at the start, here drawn as every entry's output projection",
    added="2026-11-21",
)
class Rwkv7(RecurrentAttention):
    r"""Remove the value stored for the key, at a rate per channel, and add the new value.

    .. math:: S_t = \big(\mathrm{diag}(w_t) - (a_t \odot \hat\kappa_t) \hat\kappa_t^\top\big)
              S_{t-1} + \tilde{k}_t v_t^\top, \quad w_t = \exp(-e^{-1/2} \sigma(\cdot)), \quad
              a_t = \sigma(\cdot)

    .. math:: y_t = W_o \big(g_t \odot [\mathrm{GroupNorm}(S_t^\top r_t)
              + (r_t \cdot (\rho \odot \tilde{k}_t)) v_t]\big)

    Every projection reads :math:`x_t + \mu (x_{t-1} - x_t)` with a mu of its own; kappa = k * xi
    with norm 1, and k~ = k (1 + (a - 1) alpha). The decay w, the rate a and the gate g are
    low-rank, and at the start constants; this and the starts of the other projections are those of
    the authors' code, except for W_o, which starts at 0 there. Higher layers of the paper also mix
    in the first layer's values: a mixer knows no other layer's values, so this is the form of the
    first. The time constants of the decays start at 2 train_length in the first channel and go to
    train_length / 64, but at least 2 tokens, in the last, evenly spread in their logarithm.
    """

    @dataclass(frozen=True)
    class Config:
        """rank of the decay, the rate and the gate; chunk: a power of two (cost only)."""

        rank: int = 8
        chunk: int = 32

        def __post_init__(self) -> None:
            if self.rank < 1:
                raise ValueError("rank must be at least 1")
            if self.chunk < 1 or self.chunk & (self.chunk - 1):
                raise ValueError("chunk must be a power of two")

    config: Config
    writers = (1, 3, 4)

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        dim, width, rank = self.dim, self.dim // self.heads, self.config.rank
        self.state_shape = (width, width)
        place = torch.arange(dim) / dim
        self.shift = nn.Parameter(torch.stack([1 - place**power for power in SHIFTS.values()]))
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.decay = nn.Sequential(
            nn.Linear(dim, rank, bias=False), nn.Tanh(), nn.Linear(rank, dim)
        )
        self.rate = nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, dim))
        self.gate = nn.Sequential(
            nn.Linear(dim, rank, bias=False), nn.Sigmoid(), nn.Linear(rank, dim, bias=False)
        )
        with torch.no_grad():
            tau = spread(dim, self.train_length).flip(0)
            self.decay[2].bias.copy_((math.exp(0.5) / tau).logit())
            self.rate[1].bias.zero_()
            for low_rank in (self.decay, self.rate, self.gate):
                low_rank[0].weight.zero_()
                nn.init.orthogonal_(low_rank[-1].weight, gain=0.1)
            for name, size in (("receptance", 0.5), ("key", 0.05), ("value", 0.5)):
                getattr(self, name).weight.uniform_(-size * dim**-0.5, size * dim**-0.5)
        self.removal = nn.Parameter(torch.full((dim,), 0.85))  # xi
        self.replacement = nn.Parameter(torch.ones(dim))  # alpha
        self.bonus = nn.Parameter(torch.zeros(self.heads, 1, width))  # rho
        self.norm = nn.GroupNorm(self.heads, dim, eps=1e-5 * width)

    def no_weight_decay(self) -> set[str]:
        """Name all but the square projections, the only parameters that the authors decay."""
        square = {f"{name}.weight" for name in ("receptance", "key", "value", "output")}
        return {name for name, _ in self.named_parameters()} - square

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B 1 D"]
    ) -> tuple[Tokens, Float[Tensor, "B 1 D"]]:
        """Return r, k~, v, a and b of the kernel, what is only written, and log w."""
        before = torch.cat((recent.to(x.dtype), x[:, :-1]), dim=1)
        shifted = x[:, :, None] + self.shift * (before - x)[:, :, None]
        parts = dict(zip(SHIFTS, shifted.unbind(dim=2), strict=True))
        projected = {name: getattr(self, name)(part) for name, part in parts.items()}
        projected["rate"] = projected["rate"].sigmoid()
        projected["removal"] = projected["key"] * self.removal
        projected["key"] = projected["key"] * (1 + (projected["rate"] - 1) * self.replacement)
        projected["decay"] = -math.exp(-0.5) * projected["decay"].sigmoid()
        heads = {name: self.split_heads(part) for name, part in projected.items()}
        kappa = normalise(heads["removal"])
        first = (heads["receptance"], heads["key"], heads["value"], -kappa, kappa * heads["rate"])
        return (*first, heads["gate"], heads["decay"]), x[:, -1:]

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N E"]:
        """Read S_t with r_t, in chunks, then normalise and gate."""
        r, k, v, a, b, gate, log_decay = tokens
        read = generalised_delta_attention(r, k, v, a, b, log_decay, self.config.chunk)
        return self._gated(read, r, k, v, gate)

    def advance(
        self, memory: Float[Tensor, "B H E E"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 E"], Float[Tensor, "B H E E"]]:
        """Take one step of the recurrence."""
        r, k, v, a, b, gate, log_decay = tokens
        read, memory = generalised_delta_step(memory, r, k, v, a, b, log_decay)
        return self._gated(read, r, k, v, gate), memory

    def write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Project."""
        return self.output(merge_heads(mixed))

    def nothing_recent(self, batch: int) -> Float[Tensor, "B 1 D"]:
        """Before the first token stand zeros."""
        return self.shift.new_zeros(batch, 1, self.dim)

    def _gated(
        self, read: Tensor, r: Tensor, k: Tensor, v: Tensor, gate: Tensor
    ) -> Float[Tensor, "B H N E"]:
        merged = merge_heads(read)
        normed = self.split_heads(self.norm(merged.flatten(0, 1)).view_as(merged))
        return gate * (normed + (r * self.bonus * k).sum(dim=-1, keepdim=True) * v)
