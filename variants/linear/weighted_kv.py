"""Weighted key-value attention: softmax over tokens per channel, faded by their distance."""

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_source
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.time_constants import spread
from cab.registry import register_variant

HIDDEN = -1e30
"""A logit that weighs nothing: finite, so that differences of two of them are too."""


@register_variant(
    name="weighted-kv",
    family="linear",
    patterns="ns",
    summary="per channel, a mean of values with weights exp(key - decay distance), both ways",
    paper="FEAT: Full-Dimensional Efficient Attention Transformer for Medical Video Generation "
    "(Wang, Yang, Zhang, Zhao, Wei, Xu)",
    year=2025,
    arxiv="2506.04956",
    padding="distance",
    time="N d^2",
    memory="N d",
    published_defaults="decay and bonus drawn from a normal law and divided by the number of "
    "tokens; here divided by the training length, the decays so that time constants go from 1/64 "
    "of that length (at least 2 tokens) to twice that length over the channels, the bonus at 0",
    added="2026-11-30",
)
class WeightedKeyValue(Attention):
    r"""Scan an image along its rows, then along its columns, or a sequence once.

    .. math:: o_t = \frac{\sum_{s \ne t} e^{-(|t - s| - 1) w / T + k_s} v_s + e^{u / T + k_t} v_t}
              {\sum_{s \ne t} e^{-(|t - s| - 1) w / T + k_s} + e^{u / T + k_t}}, \qquad
              y = W_o (\sigma(W_r \bar x) \odot o)

    elementwise: every channel has its own keys, decay w and bonus u; :math:`\bar x` is x plus a
    depthwise convolution of 3 x 3, or of 3 in a sequence. The operator is Vision-RWKV's (Duan et
    al., 2024, arXiv 2403.02308). In the second scan the values are the first one's outputs, and t
    counts along the columns; w and u are the scan's own. The paper uses it in space and then in
    time, with channel attention after them; here the tokens of a task have one or two axes, and
    `channel` is that third stage. T is the training length, where the paper takes the present
    one: a padded row would change with its padding. The sums over s < t and s > t cover twice as
    many tokens in each round, log N rounds of work N d beside the projections' N d^2. Every
    output holds every token, so there is no causal form.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        scans = 1 if self.grid is None else 2
        make = nn.Conv1d if self.grid is None else nn.Conv2d
        self.shift = make(self.dim, self.dim, 3, padding=1, groups=self.dim, bias=False)
        self.key, self.value, self.gate, self.output = (
            nn.Linear(self.dim, self.dim, bias=False) for _ in range(4)
        )
        rates = self.train_length / spread(self.dim, self.train_length)
        self.decay = nn.Parameter(rates.float().repeat(scans, 1))
        self.bonus = nn.Parameter(torch.zeros(scans, self.dim))

    def no_weight_decay(self) -> set[str]:
        """Return the decay rates and the bonus."""
        return {"decay", "bonus"}

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Scan each axis, gate, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        picture = x.mT if self.grid is None else x.mT.unflatten(2, self.grid)
        shifted = x + self.shift(picture).flatten(2).mT
        keys, values = self.key(shifted), self.value(shifted)
        absent = None if key_padding_mask is None else key_padding_mask[:, :, None]
        for number, (decay, bonus) in enumerate(zip(self.decay, self.bonus, strict=True)):
            turned = [self._turn(part, number) for part in (keys, values)]
            hidden = None if absent is None else self._turn(absent, number)
            rate, extra = decay / self.train_length, bonus / self.train_length
            values = self._turn(_mean(*turned, rate, extra, hidden), number, back=True)
        return self.output(self.gate(shifted).sigmoid() * values)

    def _turn(self, x: Tensor, scan: int, back: bool = False) -> Tensor:
        """Let tokens (B, N, ...) follow each other along the columns in the second scan."""
        if scan == 0 or self.grid is None:
            return x
        sides = self.grid[::-1] if back else self.grid
        return x.unflatten(1, sides).transpose(1, 2).flatten(1, 2)


@at_least_float32
def _mean(
    k: Float[Tensor, "B N D"],
    v: Float[Tensor, "B N D"],
    rate: Float[Tensor, " D"],
    bonus: Float[Tensor, " D"],
    hidden: Bool[Tensor, "B N 1"] | None,
) -> Float[Tensor, "B N D"]:
    """Return the weighted mean of the values; 0 where there is no token at all."""
    if hidden is not None:
        k = k.masked_fill(hidden, HIDDEN)
    before = _before(k, v, rate)
    after = [part.flip(1) for part in _before(k.flip(1), v.flip(1), rate)]
    logits = torch.stack((before[0], k + bonus, after[0]), dim=-1)
    weights = logits.softmax(dim=-1)
    mean = (weights * torch.stack((before[1], v, after[1]), dim=-1)).sum(dim=-1)
    return mean.masked_fill(logits.amax(dim=-1) <= HIDDEN / 2, 0.0)


def _before(
    k: Float[Tensor, "B N D"], v: Float[Tensor, "B N D"], rate: Float[Tensor, " D"]
) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
    """Return log sum_{s < t} exp(k_s - (t - 1 - s) rate) and the mean of v_s under it.

    Each round joins what ends at t with what ends `reach` tokens before it, which then covers
    twice as many tokens.
    """
    logit = F.pad(k[:, :-1], (0, 0, 1, 0), value=HIDDEN)
    mean, reach = F.pad(v[:, :-1], (0, 0, 1, 0)), 1
    while reach < k.shape[1]:
        earlier = F.pad(logit[:, :-reach], (0, 0, reach, 0), value=HIDDEN) - reach * rate
        there = F.pad(mean[:, :-reach], (0, 0, reach, 0))
        share = (earlier - logit).sigmoid()
        mean = mean + share * (there - mean)
        logit, reach = _log_sum(logit, earlier), 2 * reach
    return logit, mean


def _log_sum(a: Float[Tensor, "B N D"], b: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    """Return log(exp(a) + exp(b)); the second derivative of `torch.logaddexp` may be NaN."""
    return torch.where(a > b, a - F.logsigmoid(a - b), b - F.logsigmoid(b - a))
