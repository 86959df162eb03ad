"""Shared by lightning and transnormer: sums of outer products with a fixed decay per head."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Geometry
from cab.decoding import DecodingAttention
from cab.kernels.linear.precision import at_least_float32
from cab.kernels.linear.scalar_decay import scalar_decay_attention
from cab.kernels.linear.time_constants import SHORTEST, value_heads


class FadingSum(NamedTuple):
    """The decode state: the sum of k v^T of each value head, each term faded by its age."""

    total: Float[Tensor, "B P E V"]


class FadingAttention(DecodingAttention):
    """Sum outer products of swish features with a decay per head, and normalise the output."""

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

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; padded tokens are zeros and add nothing, yet time passes over them."""
        return at_least_float32(self._attend)(q, k, v)

    def _attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
    ) -> Float[Tensor, "B H N E"]:
        q, k = self._placed(self._shared(q), self._shared(k))
        v = self._divided(v)
        log_decay = self._log_decay(q)[None, :, None].expand(q.shape[:3])
        return self._joined(scalar_decay_attention(q, k, v, log_decay, self.config.block))

    def absorb(
        self,
        state: FadingSum | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> FadingSum:
        """Fade the sum and add the newest outer product."""
        log_decay = self._log_decay(k)
        if state is None:
            shape = (k.shape[0], len(log_decay), self.head_width, self.head_width // self.parts)
            return FadingSum(log_decay.new_zeros(shape))
        faded = state.total * log_decay.exp()[:, None, None]
        return FadingSum(faded + self._shared(k).mT * self._divided(v))

    def recall(self, q: Float[Tensor, "B H 1 E"], state: FadingSum) -> Float[Tensor, "B H 1 E"]:
        """Read the sum with one query."""
        return at_least_float32(self._read)(q, state.total)

    def _read(
        self, q: Float[Tensor, "B H 1 E"], total: Float[Tensor, "B P E V"]
    ) -> Float[Tensor, "B H 1 E"]:
        return self._joined(self._shared(q) @ total)

    def _placed(
        self, q: Float[Tensor, "B P N E"], k: Float[Tensor, "B P N E"]
    ) -> tuple[Float[Tensor, "B P N E"], Float[Tensor, "B P N E"]]:
        """Mark the features by their positions; by default they stay as they are."""
        return q, k

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
        return -(longest ** (-head / heads)).to(wide)
