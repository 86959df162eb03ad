"""TransNormerLLM: linear attention with relative positions, a fixed decay and an output gate."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, read_source
from cab.decoding import DecodingAttention
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.rotation import rotated
from cab.kernels.linear.scalar_decay import scalar_decay_attention
from cab.kernels.linear.time_constants import SHORTEST, value_heads
from cab.registry import register_variant


class FadingSum(NamedTuple):
    """The decode state: the sum of k v^T, faded by age, in the frame of the present token."""

    total: Float[Tensor, "B P E V"]


@register_variant(
    name="transnormer",
    family="linear",
    patterns="cs",
    summary="linear attention with a decay per head and layer, relative positions in the first "
    "layer, and a gate",
    paper="Scaling TransNormer to 175 Billion Parameters (Qin et al.)",
    year=2023,
    arxiv="2307.14995",
    padding="distance",
    time="N d^2",
    memory="N d",
    state="E^2",
    published_defaults="decays exp(-2^(-8 h / H) (1 - l / L)) in layer l of L, here with twice "
    "the training length in place of 2^8, over at least 4 value heads; positions (LRPE-d) in the "
    "first layer, as here; the authors' code doubles the channels for them, here pairs rotate",
)
class TransNormer(DecodingAttention):
    r"""Sum outer products of swish features with a decay, normalise, and gate.

    .. math:: u_t = \sum_{s \le t} \lambda_{hl}^{t-s}
              (R_t\, \mathrm{swish}(q_t)) \cdot (R_s\, \mathrm{swish}(k_s))\, v_s, \qquad
              y_t = W_o (\mathrm{SRMSNorm}(u_t) \odot W_g x_t), \qquad
              \lambda_{hl} = e^{-T^{-h/H} (1 - l/L)}

    h = 1, ..., H, in layer l of L, from 0. R_t rotates by angles t theta in the first layer (LRPE)
    and is left out in all others, as the paper does, in which the decay tells where a token is.
    SRMSNorm divides by the root mean square over all heads and has no parameters. T is 2
    train_length, the longest time constant in the first layer; with 128 tokens the decays are the
    paper's. Of fewer than 4 heads each has several value heads, which share its queries and keys;
    h and H then count those. `lightning` is the algorithm alone: no gate, no positions, and the
    first layer's decays.
    """

    @dataclass(frozen=True)
    class Config:
        """block: tokens per block; it changes the cost, not the result."""

        block: int = 64

        def __post_init__(self) -> None:
            if self.block < 1:
                raise ValueError("block must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.parts = value_heads(self.heads, self.head_width)
        self.gate = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Mix, gate, project. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        return self._write(self.attend(q, k, v), x)

    def step(
        self, x: Float[Tensor, "B D"], state: FadingSum
    ) -> tuple[Float[Tensor, "B D"], FadingSum]:
        """Fade the sum, add the token, read it, gate. See `Attention.step`."""
        token = x[:, None]
        q, k, v = (self.split_heads(part(token)) for part in (self.query, self.key, self.value))
        state = self.absorb(state, k, v)
        return self._write(self.recall(q, state), token)[:, 0], state

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return SRMSNorm(u); padded tokens are zeros and add nothing, yet time passes."""
        return at_least_float32(self._attend)(q, k, v)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
    ) -> Float[Tensor, "B H N E"]:
        q, k, v = self._shared(q), self._shared(k), self._divided(v)
        if self.layer == 0:
            position = torch.arange(q.shape[2], device=q.device)
            q, k = rotated(q, position), rotated(k, position)
        log_decay = self._log_decay(q)[None, :, None].expand(q.shape[:3])
        return self._joined(scalar_decay_attention(q, k, v, log_decay, self.config.block))

    def absorb(
        self,
        state: FadingSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> FadingSum:
        """Turn the sum back by one token's angles, fade it, and add the newest product."""
        log_decay = self._log_decay(k)
        if state is None:
            shape = (k.shape[0], len(log_decay), self.head_width, self.head_width // self.parts)
            return FadingSum(log_decay.new_zeros(shape))
        total = state.total
        if self.layer == 0:
            total = rotated(total.mT, torch.full((1,), -1, device=total.device)).mT
        faded = total * log_decay.exp()[:, None, None]
        return FadingSum(faded + self._shared(k).mT * self._divided(v))

    def recall(self, q: Float[Tensor, "B H 1 E"], state: FadingSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with one query."""
        return at_least_float32(self._read)(q, state.total)

    def _read(
        self, q: Float[Tensor, "B H 1 E"], total: Float[Tensor, "B P E V"]
    ) -> Float[Tensor, "B H 1 E"]:
        return self._joined(self._shared(q) @ total)

    def _write(
        self, mixed: Float[Tensor, "B H N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        return self.output(self.merge_heads(mixed) * self.gate(x))

    def _shared(self, x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B P N E"]:
        """Give the features of each head's queries or keys to all of its value heads."""
        return F.silu(x).repeat_interleave(self.parts, dim=1)

    def _divided(self, v: Float[Tensor, "B H N E"]) -> Float[Tensor, "B P N V"]:
        """Cut the values of each head into value heads."""
        return v.unflatten(-1, (self.parts, -1)).movedim(3, 2).flatten(1, 2)

    def _joined(self, x: Float[Tensor, "B P N V"]) -> Float[Tensor, "B H N E"]:
        """Undo `_divided`, and divide by the root mean square over all channels of a token."""
        x = x * (x.square().mean(dim=(1, 3), keepdim=True) + 1e-6).rsqrt()
        return x.unflatten(1, (-1, self.parts)).movedim(2, 3).flatten(-2)

    def _log_decay(self, like: Tensor) -> Float[Tensor, " P"]:
        """Made here and not kept: a buffer in bfloat16 would round the slow decays away."""
        heads = self.heads * self.parts
        head = torch.arange(1, heads + 1, device=like.device, dtype=torch.float64)
        wide = torch.promote_types(like.dtype, torch.float32)
        longest = 2 * max(self.train_length, SHORTEST)
        return -(longest ** (-head / heads) * (1 - self.layer / self.layers)).to(wide)
