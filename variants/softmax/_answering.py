"""Shared by gated and diff-v2: attention whose answers the querying token changes once more."""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import State, read_source
from cab.decoding import CachedAttention


class AnsweringAttention(CachedAttention):
    """A variant that keeps all keys and values; it writes `attend` and `answer`."""

    def answer(
        self, mixed: Float[Tensor, "B G N E"], x: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B N D"]:
        """Return the outputs for what `attend` has mixed and the tokens that have asked."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Project to heads, attend, answer. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        mixed = self.attend(
            self.split_heads(self.query(x)),
            self.split_heads(self.key(source)),
            self.split_heads(self.value(source)),
            key_padding_mask=key_padding_mask,
        )
        return self.answer(mixed, x)

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Read the token into the cache (CS only), then answer it. See `Attention.step`."""
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: State
    ) -> tuple[Float[Tensor, "B N D"], State]:
        """Append all keys at once and answer all tokens. See `Attention.prefill`."""
        if not self.pattern.cross:
            k, v = self.split_heads(self.key(x)), self.split_heads(self.value(x))
            state = self.absorb(state, k, v)
        if not x.shape[1]:
            return x, state
        return self.answer(self.recall(self.split_heads(self.query(x)), state), x), state
