"""Shared parts of Mega and Mega-chunk: everything except the visible keys.

Dimensions: B batch, N length, D model width, Z width of queries and keys, V width of values,
h averages per channel, P directions, R queries, C keys.
"""

from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.kernels.linear.diagonal import diagonal_state_space, diagonal_step
from cab.kernels.linear.time_constants import over_channels
from cab.variants.hybrid._masked import masked_softmax


class MegaState(NamedTuple):
    """The decode state: the moving averages, and the keys and values that are still visible."""

    averages: Float[Tensor, "B D h"]
    k: Float[Tensor, "B M Z"]
    v: Float[Tensor, "B M V"]


class MovingAverage(nn.Module):
    r"""The damped exponential moving average of h expansions of each channel.

    .. math:: a_t = \alpha \odot \beta x_t + (1 - \alpha \odot \delta) \odot a_{t-1}, \qquad
              y_t = \eta^\top a_t / \sqrt{h}

    Not causal, a second average runs from the end over s > t, as in the authors' code (an earlier
    version of which also gave it the token itself), and the two are added. At the start delta =
    1/2, and alpha is such that the time constants of the averages of a channel go from
    train_length / 64, but at least 2 tokens, to 2 train_length, evenly spread in their logarithm.
    """

    def __init__(self, dim: int, width: int, causal: bool, train_length: int) -> None:
        super().__init__()
        size = (1 if causal else 2, dim, width)
        forgotten = -torch.expm1(-1 / over_channels(dim, width, train_length)).view(dim, width)
        self.rate = nn.Parameter((2 * forgotten).logit().float().expand(size).clone())
        self.damping = nn.Parameter(torch.zeros(size))
        signs = 1.0 - 2.0 * (torch.arange(width) % 2)
        self.expansion = nn.Parameter(signs + torch.randn(size) * 0.02)
        self.projection = nn.Parameter(torch.randn(size))

    def poles(self) -> tuple[Float[Tensor, "P D h"], Float[Tensor, "P D h"]]:
        """Return log(1 - alpha delta), and alpha beta eta / sqrt(h)."""
        rate = self.rate.sigmoid()
        weight = rate * self.expansion * self.projection / rate.shape[-1] ** 0.5
        return torch.log1p(-rate * self.damping.sigmoid()), weight

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Average the whole sequence."""
        log_pole, weight = self.poles()
        y = diagonal_state_space(x, log_pole[0], weight[0])
        if len(log_pole) == 1:
            return y
        later = diagonal_state_space(x.flip(1), log_pole[1], weight[1] * log_pole[1].exp()).flip(1)
        return y + F.pad(later[:, 1:], (0, 0, 0, 1))


class MegaAttention(Attention):
    """Moving average, then a gated single head; a subclass says which keys a query meets."""

    def __init__(
        self, config: Any, distances: int, averages: int, **geometry: Unpack[Geometry]
    ) -> None:
        super().__init__(config, **geometry)
        dim, causal = self.dim, self.pattern.causal
        self.widths = (dim, max(1, dim // 4), max(1, dim // 2), dim)  # phi, z, gamma, h
        _, shared, values, _ = self.widths
        self.average = MovingAverage(dim, averages, causal, self.train_length)
        self.skip = nn.Parameter(torch.randn(dim))
        self.from_average = nn.Linear(dim, sum(self.widths))
        self.value = nn.Linear(dim, values)
        self.scale = nn.Parameter(torch.randn(2, shared) * 0.02)
        self.offset = nn.Parameter(torch.zeros(2, shared))
        self.distances = distances
        self.bias = nn.Parameter(torch.randn(distances if causal else 2 * distances - 1) * 0.02)
        self.hidden = nn.Linear(values, dim, bias=False)

    def no_weight_decay(self) -> set[str]:
        """Name the averages' decays, and the vectors that scale and shift queries and keys."""
        return {"average.rate", "average.damping", "scale", "offset"}

    def meet(
        self,
        q: Float[Tensor, "B N Z"],
        k: Float[Tensor, "B N Z"],
        v: Float[Tensor, "B N V"],
        absent: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N V"]:
        """Let the queries of a whole sequence meet the keys that they may see."""
        raise NotImplementedError

    def keep(self, k: Float[Tensor, "B M Z"]) -> int:
        """Return how many of the last M keys the next token may still see."""
        raise NotImplementedError

    def attend(
        self,
        q: Float[Tensor, "*B R Z"],
        k: Float[Tensor, "*B C Z"],
        v: Float[Tensor, "*B C V"],
        absent: Bool[Tensor, "*B C"] | None = None,
    ) -> Float[Tensor, "*B R V"]:
        """Softmax attention with relative biases; the queries are the last R of C positions."""
        row = torch.arange(k.shape[-2] - q.shape[-2], k.shape[-2], device=q.device)[:, None]
        ahead = torch.arange(k.shape[-2], device=q.device) - row
        hidden = ahead > 0 if self.pattern.causal else torch.zeros_like(ahead, dtype=torch.bool)
        if absent is not None:
            hidden = hidden | absent[..., None, :]
        # Beyond the longest length that was announced, all distances share the last bias.
        last = self.distances - 1
        places = (ahead + last).clamp(0, len(self.bias) - 1)
        scores = (q / self.widths[1] ** 0.5) @ k.mT + self.bias[places]
        return masked_softmax(scores, hidden) @ v

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Average, attend, gate. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        absent = key_padding_mask
        if absent is None:
            absent = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        update, q, k, reset, hidden = self._read(x, self.average(x))
        mixed = self.meet(q, k, F.silu(self.value(x)), absent)
        return self._write(x, update, mixed * reset, hidden)

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> MegaState:
        """Return averages of nothing, and no keys."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        dtype = torch.promote_types(self.skip.dtype, torch.float32)
        averages = self.skip.new_zeros(batch, *self.average.rate.shape[1:], dtype=dtype)
        k, v = (self.skip.new_zeros(batch, 0, width) for width in self.widths[1:3])
        return MegaState(averages, k, v)

    def step(
        self, x: Float[Tensor, "B D"], state: MegaState
    ) -> tuple[Float[Tensor, "B D"], MegaState]:
        """Update the averages, add a key, attend with one query. See `Attention.step`."""
        log_pole, weight = self.average.poles()
        y, averages = diagonal_step(state.averages, x, log_pole[0], weight[0])
        token = x[:, None]
        update, q, k, reset, hidden = self._read(token, y[:, None])
        k = torch.cat((state.k, k), dim=1)
        v = torch.cat((state.v, F.silu(self.value(token))), dim=1)
        out = self._write(token, update, self.attend(q, k, v) * reset, hidden)
        first = k.shape[1] - self.keep(k)
        return out[:, 0], MegaState(averages, k[:, first:], v[:, first:])

    def _read(
        self, x: Float[Tensor, "B N D"], average: Float[Tensor, "B N D"]
    ) -> tuple[Tensor, ...]:
        """Return phi, q, k, gamma, and what joins the attention's answer in h."""
        smooth = self.from_average(F.silu(average + self.skip * x))
        update, shared, reset, hidden = smooth.split(self.widths, dim=-1)
        q, k = (F.silu(shared)[..., None, :] * self.scale + self.offset).unbind(dim=-2)
        return update.sigmoid(), q, k, F.silu(reset), hidden

    def _write(self, x: Tensor, update: Tensor, mixed: Tensor, hidden: Tensor) -> Tensor:
        """Return phi (h - x); see `Mega` for what the backbone adds."""
        return update * (F.silu(hidden + self.hidden(mixed)) - x)
