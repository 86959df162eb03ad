"""Shared by fox and path: causal softmax attention that reads tokens behind a cache of its own.

Dimensions: B batch, N new tokens, M tokens of a context, D model width.
"""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import MultiHeadAttention, read_decoding_context, read_source


class ReadingAttention(MultiHeadAttention):
    """A causal variant that writes `empty` and `read`; a whole sequence is read behind nothing."""

    def empty(self, x: Float[Tensor, "B N D"]) -> Any:
        """Return the cache before the first token, for rows and of the dtype of x."""
        raise NotImplementedError

    def read(
        self,
        x: Float[Tensor, "B N D"],
        state: Any,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N D"], Any]:
        """Return the outputs of tokens that follow the cache, and the cache with them."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Answer a whole sequence. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        return self.read(x, self.empty(x), key_padding_mask)[0]

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Any:
        """Return an empty cache. See `Attention.initial_state`."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return self.empty(self.query.weight.new_empty(batch, 0, self.dim))

    def step(self, x: Float[Tensor, "B D"], state: Any) -> tuple[Float[Tensor, "B D"], Any]:
        """Append the token and answer it. See `Attention.step`."""
        y, state = self.read(x[:, None], state)
        return y[:, 0], state

    def prefill(self, x: Float[Tensor, "B N D"], state: Any) -> tuple[Float[Tensor, "B N D"], Any]:
        """Append all tokens and answer them at once. See `Attention.prefill`."""
        return self.read(x, state) if x.shape[1] else (x, state)
