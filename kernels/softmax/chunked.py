r"""Softmax attention in chunks, recomputed in the backward pass: memory linear in the length.

For one chunk of queries, each chunk of keys gives its own softmax's answer o_c and the logarithm
of its sum l_c, and the answers are joined as they come:

    l <- log(e^l + e^l_c)        o <- o e^(l_before - l) + o_c e^(l_c - l)

(Rabe, Staats, 2021, "Self-attention Does Not Need O(n^2) Memory", arXiv 2112.05682; the paper
joins at the end.) The backward pass knows o and l, with which it makes every block of weights
p = e^(x - l) once more:

    dv = p^T do        dx = p * (do v^T - <do, o>)        dq = dx k        dk = dx^T q

Beside its products this costs passes over the blocks. So all blocks are made in the same memory,
what is subtracted from a product is there before the product is added to it, and queries that see
one chunk alone need no l, in either direction: their weights are a softmax as they are. Products
take the keys (and, backward, the values and the sums of dk and dv) transposed once for all blocks,
and write whole tensors: on a CPU a product into a slice takes up to 1.4 times as long.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

BLOCK = {"cpu": 2**21, "cuda": 2**27}
"""Weights at once: on a CPU they are to stay in its caches, on a GPU to fill it."""
QUERIES, KEYS = 128, 8192
"""The chunks in tokens that were fastest on a CPU, forward and backward, at 1,024 to 8,192."""


def chunked_softmax(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H M K"],
    v: Float[Tensor, "B H M V"],
    *,
    causal: bool,
    offset: int,
    key_padding_mask: Bool[Tensor, "B M"] | None = None,
    query_chunk: int = QUERIES,
    key_chunk: int = KEYS,
) -> Float[Tensor, "B H N V"]:
    """Return o, or 0 for a query that sees nothing; query i stands at position i + offset.

    Nothing is saved for the backward pass but the inputs, the answers and a number per query.
    """
    padding = None
    if key_padding_mask is not None:
        padding = key_padding_mask.repeat_interleave(q.shape[1], dim=0)
    # What joins the chunks, the logarithm of a sum, is too coarse in half precision.
    wide = torch.promote_types(q.dtype, torch.float32) if k.shape[2] > key_chunk else q.dtype
    flat = (x.flatten(0, 1).to(wide) for x in (q, k, v))
    out: Tensor = _Chunked.apply(*flat, padding, _Grid(causal, offset, query_chunk, key_chunk))
    return out.unflatten(0, q.shape[:2]).to(q.dtype)


@dataclass(frozen=True)
class _Grid:
    """How a map is cut into blocks."""

    causal: bool
    offset: int
    query_chunk: int
    key_chunk: int

    def largest(self, q: Tensor, k: Tensor) -> tuple[int, int]:
        """How many heads are in a block, and how many weights of each."""
        wide = min(self.key_chunk, k.shape[1]) * min(self.query_chunk, q.shape[1])
        block = BLOCK.get(q.device.type, BLOCK["cpu"])
        return min(len(q), max(1, block // max(wide, 1))), wide

    def memory(self, q: Tensor, k: Tensor) -> Tensor:
        """Return room for the scores of any block."""
        return q.new_empty(math.prod(self.largest(q, k)))

    def rows(self, q: Tensor, k: Tensor) -> Iterator[tuple[slice, slice, list[slice]]]:
        """Yield some heads, some queries, and the chunks of keys that these can see."""
        (count, queries), keys = q.shape[:2], k.shape[1]
        heads, _ = self.largest(q, k)
        for head in range(0, count, max(heads, 1)):
            for row in range(0, queries, self.query_chunk):
                end = min(row + self.query_chunk, queries)
                last = max(0, min(keys, end + self.offset)) if self.causal else keys
                spans = [
                    slice(start, min(start + self.key_chunk, last))
                    for start in range(0, last, self.key_chunk)
                ]
                yield slice(head, min(head + heads, count)), slice(row, end), spans

    def alone(self, padding: Tensor | None, rows: slice, spans: list[slice]) -> bool:
        """Whether one chunk is all that the queries see, and each of them sees something."""
        blind = padding is not None or (self.causal and rows.start + self.offset < 0)
        return len(spans) == 1 and not blind

    def future(self, q: Tensor) -> Float[Tensor, "A A"]:
        """Return what bounds the scores of queries, in rows, for keys that come after the first.

        Query i of a chunk sees i of them: there the bound is infinite, else far below all scores.
        """
        side = min(self.query_chunk, q.shape[1])
        after = torch.ones(side, side, dtype=torch.bool, device=q.device).triu()
        return q.new_full(after.shape, torch.inf).masked_fill_(after, torch.finfo(q.dtype).min)

    def hide(
        self,
        scores: Float[Tensor, "L C S"],
        future: Float[Tensor, "A A"],
        padding: Bool[Tensor, "G M"] | None,
        heads: slice,
        rows: slice,
        span: slice,
    ) -> None:
        """Put the scores of hidden keys far below all others."""
        if padding is not None:
            scores.masked_fill_(padding[heads, None, span], torch.finfo(scores.dtype).min)
        after = rows.start + self.offset + 1  # every query sees what is before
        seen = max(span.start, after)
        if self.causal and seen < span.stop:
            part = scores[..., seen - span.start :]
            bound = future[: part.shape[1], seen - after : span.stop - after]
            torch.minimum(part, bound, out=part)


def _within(memory: Tensor, *shape: int) -> Tensor:
    """The first part of a memory, in a shape."""
    return memory[: math.prod(shape)].view(shape)


def _across(x: Float[Tensor, "G M E"], scale: float = 1.0) -> Float[Tensor, "G E M"]:
    """Return a scaled copy with the tokens along its rows."""
    return torch.mul(x.mT, scale, out=x.new_empty(len(x), x.shape[2], x.shape[1]))


def _differentiable_gradients(
    q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, grid: _Grid, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v with all weights at once, in operations that have a gradient."""
    scale = q.shape[-1] ** -0.5
    hidden = torch.zeros(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device)
    if grid.causal:
        hidden = torch.ones_like(hidden).triu(grid.offset + 1)
    hidden = hidden if padding is None else hidden | padding[:, None]
    lowest = torch.finfo(q.dtype).min
    weights = (q @ k.mT * scale).masked_fill(hidden, lowest).softmax(dim=-1)
    weights = weights.masked_fill(hidden, 0.0)
    wanted = grad @ v.mT
    wanted = weights * (wanted - (wanted * weights).sum(dim=-1, keepdim=True)) * scale
    return wanted @ k, wanted.mT @ q, weights.mT @ grad


class _Chunked(torch.autograd.Function):
    """q (G, N, K), k (G, M, K), v (G, M, V), padding (G, M), grid -> o (G, N, V)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, grid: _Grid
    ) -> Tensor:
        scale = q.shape[-1] ** -0.5
        out = q.new_zeros(*q.shape[:2], v.shape[-1])
        sums = q.new_full((*q.shape[:2], 1), torch.inf)
        keys_across, memory, future = _across(k, scale), grid.memory(q, k), grid.future(q)
        for heads, rows, spans in grid.rows(q, k):
            queries, answer, total = q[heads, rows], out[heads, rows], None
            for span in spans:
                keys, values = keys_across[heads, :, span], v[heads, span]
                scores = _within(memory, *queries.shape[:2], keys.shape[2])
                torch.bmm(queries, keys, out=scores)
                grid.hide(scores, future, padding, heads, rows, span)
                if grid.alone(padding, rows, spans):
                    answer.copy_(torch.softmax(scores, dim=-1, out=scores) @ values)
                    continue
                largest = scores.amax(dim=-1, keepdim=True)
                weights = torch.softmax(scores, dim=-1, out=scores)
                # The largest weight is e^(largest score) over the sum, which tells the sum.
                own = largest - weights.amax(dim=-1, keepdim=True).log()
                part = weights @ values
                if total is None:
                    answer.copy_(part)
                    total = own
                else:
                    before, total = total, torch.logaddexp(total, own)
                    part.mul_((own - total).exp_())
                    answer.mul_((before - total).exp_()).add_(part)
            if total is not None:
                # Of scores that are all hidden the answer is 0, and e^(x - inf) is 0, too.
                blind = total < torch.finfo(q.dtype).min / 2
                answer.masked_fill_(blind, 0.0)
                sums[heads, rows] = total.masked_fill_(blind, torch.inf)
        ctx.grid = grid
        ctx.save_for_backward(q, k, v, padding, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, padding, out, sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            return *_differentiable_gradients(q, k, v, padding, ctx.grid, grad), None, None
        grid, scale = ctx.grid, q.shape[-1] ** -0.5
        keys_across, values_across = _across(k, scale), _across(v)
        grad_q = torch.zeros_like(q)
        grad_k, grad_v = torch.zeros_like(keys_across), torch.zeros_like(values_across)
        answered = (grad * out).sum(dim=-1, keepdim=True)
        memory, second, future = grid.memory(q, k), grid.memory(q, k), grid.future(q)
        for heads, rows, spans in grid.rows(q, k):
            queries, wished = q[heads, rows], grad[heads, rows]
            for span in spans:
                keys = keys_across[heads, :, span]
                weights = _within(memory, *queries.shape[:2], keys.shape[2])
                if grid.alone(padding, rows, spans):
                    torch.bmm(queries, keys, out=weights)
                    grid.hide(weights, future, padding, heads, rows, span)
                    torch.softmax(weights, dim=-1, out=weights)
                else:
                    torch.baddbmm(-sums[heads, rows], queries, keys, out=weights)
                    grid.hide(weights, future, padding, heads, rows, span)
                    weights.exp_()
                grad_v[heads, :, span].baddbmm_(wished.mT, weights)
                wanted = _within(second, *weights.shape)
                values = values_across[heads, :, span]
                torch.baddbmm(-answered[heads, rows], wished, values, out=wanted)
                wanted.mul_(weights)
                grad_q[heads, rows].add_(wanted @ k[heads, span], alpha=scale)
                grad_k[heads, :, span].baddbmm_(queries.mT, wanted, alpha=scale)
        return grad_q, grad_k.mT, grad_v.mT, None, None
