"""Blockwise softmax attention over the ranks of a process group, which pass on keys and values.

Dimensions: B batch, H heads, N own queries, M keys of a block, E and V widths, C chunks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from cab.kernels._derivatives import first_derivative_only


@dataclass(frozen=True)
class Ring:
    """This rank's place among P, and the lengths of all blocks of queries and of keys."""

    group: distributed.ProcessGroup
    rank: int
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    causal: bool
    query_chunk: int
    key_chunk: int

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return len(self.keys)

    def source(self, turn: int) -> int:
        """Whose keys are here after so many turns."""
        return (self.rank - turn) % self.size

    def pairs(self, turn: int) -> Iterator[tuple[slice, slice, int]]:
        """The chunks of own queries and of the keys that are here, and how far the first query
        stands behind the first key; in causal attention those that see something alone."""
        source = self.source(turn)
        ahead = sum(self.queries[: self.rank]) - sum(self.keys[:source])
        for row in range(0, self.queries[self.rank], self.query_chunk):
            for column in range(0, self.keys[source], self.key_chunk):
                rows = slice(row, min(row + self.query_chunk, self.queries[self.rank]))
                columns = slice(column, min(column + self.key_chunk, self.keys[source]))
                if not self.causal or columns.start < ahead + rows.stop:
                    yield rows, columns, ahead + rows.start - columns.start

    def passing(self, tensors: Sequence[Tensor], turn: int) -> "Passing":
        """Start to send a block to the next rank and to take one from the rank before."""
        return Passing(self, tensors, self.keys[self.source(turn + 1)])


class Passing:
    """A block on its way; `arrived` waits for it. Dimension 2 of each tensor counts the keys."""

    def __init__(self, ring: Ring, tensors: Sequence[Tensor], length: int) -> None:
        ahead, behind = (
            distributed.get_global_rank(ring.group, (ring.rank + way) % ring.size)
            for way in (1, -1)
        )
        sent = [tensor.contiguous() for tensor in tensors]
        self._taken = [
            tensor.new_empty((*tensor.shape[:2], length, *tensor.shape[3:])) for tensor in tensors
        ]
        operations = []
        for tag, (one, other) in enumerate(zip(sent, self._taken, strict=True)):
            operations += [
                distributed.P2POp(distributed.isend, one, ahead, ring.group, tag),
                distributed.P2POp(distributed.irecv, other, behind, ring.group, tag),
            ]
        self._sent, self._works = sent, distributed.batch_isend_irecv(operations)

    def arrived(self) -> list[Tensor]:
        """Wait; return the block of the rank before."""
        for work in self._works:
            work.wait()
        return self._taken


class Sums(NamedTuple):
    """Running sums of the queries: of weighted values, of weights, and the largest score."""

    values: Float[Tensor, "B H N V"]
    weights: Float[Tensor, "B H N 1"]
    largest: Float[Tensor, "B H N 1"]


class RingSoftmax(torch.autograd.Function):
    """Softmax attention whose keys and values go round a ring, forward and backward.

    forward takes q (B, H, N, E), not scaled, and the rank's own k, v and padding (B, 1, M, 1,
    uint8), and returns o (B, H, N, V), in float32 at least. Of the scores nothing is kept.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, padded: Tensor, ring: Ring) -> Tensor:
        """Attend to each block as it comes by, while the next is on its way."""
        q = q / q.shape[-1] ** 0.5
        lowest = torch.finfo(q.dtype).min
        sums = Sums(
            q.new_zeros(*q.shape[:3], v.shape[-1]),
            q.new_zeros(*q.shape[:3], 1),
            q.new_full((*q.shape[:3], 1), lowest),
        )
        block = [k, v, padded]
        for turn in range(ring.size):
            last = turn == ring.size - 1
            passing = None if last else ring.passing(block, turn)
            for rows, columns, ahead in ring.pairs(turn):
                _add(sums, q, block, rows, columns, ahead, ring.causal)
            block = block if passing is None else passing.arrived()
        # A row that saw no key has sum 0 and gives 0.
        seen = sums.weights.masked_fill(sums.weights == 0, 1.0)
        out = sums.values / seen
        ctx.ring = ring
        ctx.save_for_backward(q, k, v, padded, out, sums.largest + seen.log())
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Go round once more; the gradients of a block travel with it and come home."""
        q, k, v, padded, out, total = ctx.saved_tensors
        ring: Ring = ctx.ring
        inner = (grad * out).sum(dim=-1, keepdim=True)
        grad_q, block = torch.zeros_like(q), [k, v, padded]
        grads = [torch.zeros_like(k), torch.zeros_like(v)]
        for turn in range(ring.size):
            last = turn == ring.size - 1
            passing = None if last else ring.passing(block, turn)
            for rows, columns, ahead in ring.pairs(turn):
                keys, values = block[0][:, :, columns], block[1][:, :, columns]
                scores = _scores(q, block, rows, columns, ahead, ring.causal)
                weights = (scores - total[:, :, rows]).exp()
                grads[1][:, :, columns] += weights.mT @ grad[:, :, rows]
                slope = weights * (grad[:, :, rows] @ values.mT - inner[:, :, rows])
                grad_q[:, :, rows] += slope @ keys
                grads[0][:, :, columns] += slope.mT @ q[:, :, rows]
            grads = ring.passing(grads, turn).arrived() if ring.size > 1 else grads
            block = block if passing is None else passing.arrived()
        return grad_q / q.shape[-1] ** 0.5, grads[0], grads[1], None, None


def _scores(
    q: Tensor, block: list[Tensor], rows: slice, columns: slice, ahead: int, causal: bool
) -> Float[Tensor, "B H C D"]:
    """Scores of a chunk of (scaled) queries and keys, -inf where a key is hidden."""
    scores = q[:, :, rows] @ block[0][:, :, columns].mT
    hidden = block[2][:, :, columns].mT.bool()
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device)
        hidden = hidden | future.triu(ahead + 1)
    return scores.masked_fill(hidden, -torch.inf)


def _add(
    sums: Sums,
    q: Tensor,
    block: list[Tensor],
    rows: slice,
    columns: slice,
    ahead: int,
    causal: bool,
) -> None:
    """Add a chunk of keys to the sums of a chunk of queries, in place."""
    scores = _scores(q, block, rows, columns, ahead, causal)
    values, weights, largest = (one[:, :, rows] for one in sums)
    # It starts at a finite number, so that a row of hidden keys gives exp(-inf) and no NaN.
    higher = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
    shrink, own = (largest - higher).exp(), (scores - higher).exp()
    values.mul_(shrink).add_(own @ block[1][:, :, columns])
    weights.mul_(shrink).add_(own.sum(dim=-1, keepdim=True))
    largest.copy_(higher)
