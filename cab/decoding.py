"""Variants that answer token by token: the two common ways to write one.

Dimensions: B batch, N query length, M key length, H heads, E head width, D model width = H E.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import MultiHeadAttention, State, read_decoding_context


class DecodingAttention(MultiHeadAttention):
    """A multi-head variant that decodes: it writes `absorb` and `recall` beside `attend`."""

    def absorb(
        self,
        state: State,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> State:
        """Return the state after reading keys and values; `state` is None at the start."""
        raise NotImplementedError

    def recall(self, q: Float[Tensor, "B H 1 E"], state: State) -> Float[Tensor, "B H 1 E"]:
        """Answer one query from the state."""
        raise NotImplementedError

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> State:
        """Return the state before the first token. See `Attention.initial_state`."""
        context = read_decoding_context(self.pattern, context, key_padding_mask)
        if context is None:
            context = self.key.weight.new_zeros(batch, 0, self.dim)
        k, v = self.split_heads(self.key(context)), self.split_heads(self.value(context))
        return self.absorb(None, k, v, key_padding_mask)

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Read the token into the state (CS only), then answer it. See `Attention.step`."""
        token = x[:, None]
        if not self.pattern.cross:
            k, v = self.split_heads(self.key(token)), self.split_heads(self.value(token))
            state = self.absorb(state, k, v)
        mixed = self.recall(self.split_heads(self.query(token)), state)
        return self.answer(mixed, token)[:, 0], state


class KeyValueCache(NamedTuple):
    """The decode state of attention that keeps every key: 2 M E elements per head."""

    k: Float[Tensor, "B H M E"]
    v: Float[Tensor, "B H M E"]
    key_padding_mask: Bool[Tensor, "B M"]


class CachedAttention(DecodingAttention):
    """A variant that decodes by keeping all keys and values and attending with one query.

    In CS its `attend` must take N <= M, where the queries are the last N of the M positions.
    """

    def absorb(
        self,
        state: KeyValueCache | None,
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> KeyValueCache:
        """Append to the cache."""
        if key_padding_mask is None:
            key_padding_mask = k.new_zeros(k.shape[0], k.shape[2], dtype=torch.bool)
        if state is None:
            return KeyValueCache(k, v, key_padding_mask)
        return KeyValueCache(
            torch.cat((state.k, k), dim=2),
            torch.cat((state.v, v), dim=2),
            torch.cat((state.key_padding_mask, key_padding_mask), dim=1),
        )

    def recall(
        self, q: Float[Tensor, "B H N E"], state: KeyValueCache
    ) -> Float[Tensor, "B H N E"]:
        """Attend to the whole cache; several queries are those of its last positions."""
        q, k = (q, state.k) if self.turn is None else self.turn(q, state.k)
        return self.attend(q, k, state.v, key_padding_mask=state.key_padding_mask)

    def turn_by(self, turn: nn.Module) -> None:
        """Let queries and keys pass `turn`. See `Attention.turn_by`.

        A subclass that does more than attend and answer in its own way does not take it, nor do
        the cross patterns, where queries and keys have no common positions.
        """
        ways = ("forward", "initial_state", "step", "prefill", "absorb", "recall")
        if self.pattern.cross or any(
            getattr(type(self), way) is not getattr(CachedAttention, way) for way in ways
        ):
            super().turn_by(turn)
        self.turn = turn

    def prefill(
        self, x: Float[Tensor, "B N D"], state: State
    ) -> tuple[Float[Tensor, "B N D"], State]:
        """Append all keys at once and attend with all queries. See `Attention.prefill`.

        A subclass that steps or recalls in its own way reads token by token.
        """
        own = type(self)
        if own.step is not DecodingAttention.step or own.recall is not CachedAttention.recall:
            return super().prefill(x, state)
        if not self.pattern.cross:
            k, v = self.split_heads(self.key(x)), self.split_heads(self.value(x))
            state = self.absorb(state, k, v)
        if not x.shape[1]:
            return x, state
        mixed = self.recall(self.split_heads(self.query(x)), state)
        return self.answer(mixed, x), state
