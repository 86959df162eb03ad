"""Power retention: gated attention with powers of scores, by a state of symmetric powers."""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.attention import Geometry
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.kernels.linear.scalar_decay import between_tokens, scalar_decay_step
from cab.kernels.linear.scan import in_chunks, states_before
from cab.kernels.linear.starting_gates import sigmoid_start
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant
from cab.variants.recurrent._recurrent import RecurrentAttention, Tokens, merge_heads

LEAST = 1e-12
"""Added to sums of weights: where all are 0 nothing is read."""


@register_variant(
    name="power-retention",
    family="recurrent",
    patterns="cs",
    summary="gated attention with even powers of scores as weights, kept as symmetric powers of "
    "keys",
    paper="Scaling Context Requires Rethinking Attention (Gelada, Buckman, Zhang, Bach)",
    year=2025,
    arxiv="2507.04239",
    time="N d E^power",
    memory="N d E^(power - 1)",
    state="((power == 2) E (E + 1) / 2 + (power == 4) E (E + 1) (E + 2) (E + 3) / 24) "
    "(E + 1 + (E % ceil(4 / H) == 0) (ceil(4 / H) - 1))",
    published_defaults="power 2, as here; gates in log space from a projection of the token; here "
    "the time constants of the gates start from 1/64 of the training length (at least 2 tokens) "
    "to twice that length, evenly spread in their logarithm over at least 4 value heads; 1e-6 of "
    "the largest weight added to a sum of weights, here 1e-12",
    added="2026-11-30",
    used_by=(("Brumby-14B", "https://manifestai.com/articles/release-brumby-14b/"),),
)
class PowerRetention(RecurrentAttention):
    r"""Weigh by an even power of the score, which is a product of features of query and key.

    .. math:: o_t = \frac{\sum_{s \le t} g_{ts} (q_t \cdot k_s / \sqrt{E})^p v_s}
              {\epsilon + \sum_{s \le t} g_{ts} (q_t \cdot k_s / \sqrt{E})^p}, \quad
              g_{ts} = \prod_{l = s + 1}^t \sigma(w \cdot x_l + b)

    .. math:: (q \cdot k)^p = \phi(q) \cdot \phi(k), \quad
              S_t = \sigma_t S_{t-1} + \phi(k_t) [v_t, 1]^\top

    :math:`\phi` are the :math:`\binom{E + p - 1}{p}` different products of p channels, each times
    the root of how often it occurs. Within a chunk scores are raised to the power directly; the
    features, which lose more digits, act between chunks alone. A padded token neither writes nor
    fades. Where H is below 4 each head has several value heads, with a gate each.
    """

    @dataclass(frozen=True)
    class Config:
        """power: p above, 2 or 4. chunk: tokens per chunk; it changes the cost, not the result."""

        power: int = 2
        chunk: int = 64

        def __post_init__(self) -> None:
            if self.power not in (2, 4):
                raise ValueError("power must be 2 or 4")
            if self.chunk < 1:
                raise ValueError("chunk must be at least 1")

    config: Config
    places: Tensor
    counts: Tensor

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.divide_values()
        width = self.dim // self.key_heads
        chosen = list(combinations_with_replacement(range(width), self.config.power))
        self.state_shape = (len(chosen), self.dim // self.heads + 1)
        self.register_buffer("places", torch.tensor(chosen).mT.contiguous(), persistent=False)
        self.register_buffer(
            "counts", torch.tensor([_orders(one) for one in chosen]), persistent=False
        )
        self.query, self.key, self.value = (
            nn.Linear(self.dim, self.dim, bias=False) for _ in range(3)
        )
        self.gate = nn.Linear(self.dim, self.heads)
        strength = 1 / spread(self.heads, self.train_length)
        with torch.no_grad():
            self.gate.bias.copy_(sigmoid_start(strength))
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def read(
        self, x: Float[Tensor, "B N D"], recent: Float[Tensor, "B R C"]
    ) -> tuple[Tokens, Float[Tensor, "B R C"]]:
        """Return q, k, v, log gates."""
        q, k = (self.share_heads(part(x)) for part in (self.query, self.key))
        q = q / (self.dim // self.key_heads) ** 0.5
        return (q, k, self.split_heads(self.value(x)), F.logsigmoid(self.gate(x)).mT), recent

    def mix(self, *tokens: Tensor) -> Float[Tensor, "B H N V"]:
        """Sum up weighted values, in chunks, and divide by the weights."""
        return _power_attention(*tokens, self.places, self.counts, self.config.chunk)

    def advance(
        self, memory: Float[Tensor, "B H K W"], *tokens: Tensor
    ) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K W"]]:
        """Take one step of the recurrence."""
        out, memory = _power_step(*tokens, memory, self.places, self.counts)
        return out.to(tokens[2].dtype), memory

    def write(
        self, mixed: Float[Tensor, "B H N V"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Project."""
        return self.output(merge_heads(mixed))


def _orders(channels: tuple[int, ...]) -> int:
    """In how many orders the channels of a product may stand."""
    repeated = math.prod(math.factorial(n) for n in Counter(channels).values())
    return math.factorial(len(channels)) // repeated


def _features(
    x: Float[Tensor, "*B E"], places: Int[Tensor, "P K"], counts: Int[Tensor, " K"]
) -> Float[Tensor, "*B K"]:
    """Return phi(x)."""
    product = counts.to(x.dtype).sqrt()
    for place in places:
        product = product * x[..., place]
    return product


@at_least_float32
def _power_attention(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N V"],
    log_gate: Float[Tensor, "B H N"],
    places: Int[Tensor, "P K"],
    counts: Int[Tensor, " K"],
    chunk: int,
) -> Float[Tensor, "B H N V"]:
    """Return o of a whole sequence."""
    length = v.shape[2]
    v = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)
    q, k, v, log_gate = (in_chunks(x, min(chunk, length)) for x in (q, k, v, log_gate))
    since_start = log_gate.cumsum(dim=3)
    total = since_start[..., -1:]
    keys = _features(k, places, counts) * (total - since_start).exp()[..., None]
    before = states_before(total.exp()[..., None], keys.mT @ v, torch.mul)
    read = (between_tokens(since_start) * (q @ k.mT) ** len(places)) @ v
    read = read + since_start.exp()[..., None] * (_features(q, places, counts) @ before)
    return _divided(read.flatten(2, 3)[:, :, :length])


@in_float32
def _power_step(
    q: Float[Tensor, "B H 1 E"],
    k: Float[Tensor, "B H 1 E"],
    v: Float[Tensor, "B H 1 V"],
    log_gate: Float[Tensor, "B H 1"],
    memory: Float[Tensor, "B H K W"],
    places: Int[Tensor, "P K"],
    counts: Int[Tensor, " K"],
) -> tuple[Float[Tensor, "B H 1 V"], Float[Tensor, "B H K W"]]:
    """Return o of one token, and the state after it."""
    q, k = (_features(x, places, counts) for x in (q, k))
    v = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)
    read, memory = scalar_decay_step(memory, q, k, v, log_gate)
    return _divided(read), memory


def _divided(read: Float[Tensor, "B H N W"]) -> Float[Tensor, "B H N V"]:
    """Divide sums of weighted values by the sum of weights, which stands behind them."""
    return read[..., :-1] / (read[..., -1:] + LEAST)
