"""Shared parts of monotonic cross attention: one position of the context for each query."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.attention import State, read_source
from cab.decoding import CachedAttention, KeyValueCache

Scores = Float[Tensor, "B H N M"]
Visible = Bool[Tensor, "B 1 1 M"]


class MonotonicState(NamedTuple):
    """The decode state: the context's keys and values, and the first position still open."""

    cache: KeyValueCache
    start: Int[Tensor, "B H"]


class Path(NamedTuple):
    """Each query's position t_s, the first that it may take, and the next query's first."""

    position: Int[Tensor, "B H N 1"]
    start: Int[Tensor, "B H N 1"]
    following: Int[Tensor, "B H"]


class MonotonicAttention(CachedAttention):
    """Cross attention whose queries, in turn, take later and later positions of the context."""

    def scores(
        self, q: Float[Tensor, "B H N E"], k: Float[Tensor, "B H M E"]
    ) -> tuple[Scores, Scores]:
        """Return the scores of the weights and those of the positions: by default the same."""
        products = (q * self.head_width**-0.5) @ k.mT
        return products, products

    def weigh(self, scores: Scores, of_position: Scores, visible: Visible, path: Path) -> Scores:
        """Return the weights of the values; subclasses write this."""
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Walk through the context with all queries. See `Attention.forward`."""
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        state = self.initial_state(x.shape[0], context, key_padding_mask=key_padding_mask)
        return self.prefill(x, state)[0]

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> MonotonicState:
        """Return the state at the beginning of the context. See `Attention.initial_state`."""
        cache = super().initial_state(batch, context, key_padding_mask=key_padding_mask)
        return MonotonicState(cache, cache.k.new_zeros(batch, self.heads, dtype=torch.long))

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Take one position further on and answer. See `Attention.step`."""
        y, state = self.prefill(x[:, None], state)
        return y[:, 0], state

    def prefill(
        self, x: Float[Tensor, "B N D"], state: MonotonicState
    ) -> tuple[Float[Tensor, "B N D"], MonotonicState]:
        """Walk on with several queries at once. See `Attention.prefill`."""
        if not x.shape[1]:
            return x, state
        (k, v, padded), start = state
        visible = ~padded[:, None, None]
        scores, of_position = self.scores(self.split_heads(self.query(x)), k)
        path = walk(of_position.detach(), visible, start)
        mixed = self.weigh(scores, of_position, visible, path) @ v
        return self.output(self.merge_heads(mixed)), MonotonicState(state.cache, path.following)


@torch.no_grad()
def walk(of_position: Scores, visible: Visible, start: Int[Tensor, "B H"]) -> Path:
    """Take for each query in turn the best position behind the one before.

    Query s takes the position of the largest score from its first open one on, which is the one
    after t_{s-1}. If no visible position is left, the last one is taken again. Without a loop over
    queries: each is a table from its first open position to the next query's, and the tables of
    all queries so far are composed by doubling, in log2(N) rounds.
    """
    keys, queries = of_position.shape[-1], of_position.shape[-2]
    index = torch.arange(keys, device=start.device)
    lowest = torch.finfo(of_position.dtype).min
    backwards = of_position.masked_fill(~visible, lowest).flip(-1)
    best = keys - 1 - backwards.cummax(dim=-1).indices.flip(-1)  # from each position on
    last = torch.where(visible, index, 0).amax(dim=-1, keepdim=True)
    best = torch.where(index > last, last, best)
    table, reach = (best + 1).clamp(max=keys - 1), 1
    while reach < queries:
        composed = table[:, :, reach:].gather(-1, table[:, :, :-reach])
        table, reach = torch.cat((table[:, :, :reach], composed), dim=2), 2 * reach
    begin = start[:, :, None, None]
    following = table.gather(-1, begin.expand(-1, -1, queries, -1))
    first = torch.cat((begin, following[:, :, :-1]), dim=2)
    return Path(best.gather(-1, first), first, following[:, :, -1, 0])
