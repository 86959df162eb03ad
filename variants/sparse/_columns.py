"""An attention map of fixed width, spread over the tokens that each query may see.

Column m of K stands for the tokens s with floor(s K / n) = m of the n visible ones, 0 to n - 1.
Dimensions: B batch, H heads, N queries, K columns, R slots.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Columns(NamedTuple):
    """The first token and the number of tokens of each column, and the log of its share."""

    first: Int[Tensor, "B N K"]
    size: Int[Tensor, "B N K"]
    log_share: Float[Tensor, "B H N K"]


class Choice(NamedTuple):
    """The tokens that each query reads, which slots are empty, and the log of their shares."""

    token: Int[Tensor, "B H N R"]
    hidden: Bool[Tensor, "B H N R"]
    log_share: Float[Tensor, "B H N R"]


def columns_of(rows: Float[Tensor, "B H N K"], visible: Int[Tensor, "B N"]) -> Columns:
    """Normalise rows of scores over the columns that have tokens."""
    width = rows.shape[-1]
    ends = torch.arange(width + 1, device=rows.device) * visible[..., None]
    ends = (ends + width - 1) // width
    size = ends[..., 1:] - ends[..., :-1]
    scores = rows.masked_fill((size == 0)[:, None], torch.finfo(rows.dtype).min)
    return Columns(ends[..., :-1], size, scores.log_softmax(dim=-1))


def choose(columns: Columns, visible: Int[Tensor, "B N"], top_k: int, most: int) -> Choice:
    """Lay the tokens of the best columns into slots, column after column.

    A query reads as many columns as hold about `top_k` tokens, at least one and at most `top_k`;
    no query sees more than `most` tokens. A token's share is that of its column, divided evenly.
    """
    width = columns.log_share.shape[-1]
    ranks = min(top_k, width)
    wanted = (2 * top_k * width + visible) // (2 * visible)  # rounded
    wanted = wanted.clamp(min=1, max=ranks)[:, None, :, None]
    best = columns.log_share.detach().topk(ranks, dim=-1).indices
    longest = ((visible + width - 1) // width)[:, None, :, None]
    slot = torch.arange(2 * top_k - (-most // width) + 1, device=best.device)
    rank, offset = slot // longest, slot % longest
    column = best.gather(-1, rank.clamp(max=ranks - 1).expand(*best.shape[:3], -1))
    first, size = (
        x[:, None].expand(-1, best.shape[1], -1, -1).gather(-1, column) for x in columns[:2]
    )
    hidden = (rank >= wanted) | (offset >= size)
    log_share = columns.log_share.gather(-1, column) - size.clamp(min=1).log()
    return Choice(torch.where(hidden, 0, first + offset), hidden, log_share)
