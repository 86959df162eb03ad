"""Tokens sorted into groups that stand in whole chunks, and softmax taken in parts.

Shared by the variants that let tokens meet by content: groups have any size, chunks have one, so
that all chunks meet their keys in one product.

Dimensions: B batch, H heads, N tokens, E width, C chunks, L slots of a chunk, S = C L slots.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


class Groups(NamedTuple):
    """Where each token stands: groups one after the other, each from a new chunk on.

    Within a group tokens keep their order, so which of them share a chunk depends on no later one.
    """

    token: Int[Tensor, "B H C L"]
    """The token in each slot, or N where the slot is empty."""
    slot: Int[Tensor, "B H N"]
    """The slot of each token."""
    home: Int[Tensor, "B H N"]
    """The chunk of each token, numbered so that chunks of two groups differ by at least 2."""
    group: Int[Tensor, "B H C"]
    """The group of each chunk; the number of groups for a chunk that is not used."""


def sort_into_groups(labels: Int[Tensor, "B H N"], groups: int, chunk: int) -> Groups:
    """Lay tokens out by label (0 <= label < groups) in chunks of `chunk` slots."""
    length = labels.shape[-1]
    # Each group that has tokens leaves at most chunk - 1 slots empty.
    chunks = (length + min(groups, length) * (chunk - 1)) // chunk
    counts = labels.new_zeros(*labels.shape[:2], groups)
    counts = counts.scatter_add(-1, labels, torch.ones_like(labels))
    used = (counts + chunk - 1) // chunk
    end = used.cumsum(dim=-1)
    first_slot, first_rank = (end - used) * chunk, counts.cumsum(dim=-1) - counts

    order = labels.argsort(dim=-1, stable=True)
    ordered = labels.gather(-1, order)
    ranks = torch.arange(length, device=labels.device) - first_rank.gather(-1, ordered)
    slots = first_slot.gather(-1, ordered) + ranks
    token = labels.new_full((*labels.shape[:2], chunks * chunk), length)
    number = torch.arange(chunks, device=labels.device).expand(*labels.shape[:2], chunks)
    slot = torch.empty_like(labels).scatter(-1, order, slots)
    return Groups(
        token.scatter(-1, slots, order).unflatten(-1, (chunks, chunk)),
        slot,
        slot // chunk + labels,
        torch.searchsorted(end, number.contiguous(), right=True),
    )


def to_slots(x: Shaped[Tensor, "B H N E"], groups: Groups) -> Shaped[Tensor, "B H C L E"]:
    """Bring tokens to their slots; empty slots hold 0."""
    index = groups.token.flatten(2)[..., None].expand(-1, -1, -1, x.shape[-1])
    slots = F.pad(x, (0, 0, 0, 1)).gather(2, index)
    return slots.unflatten(2, groups.token.shape[2:])


def from_slots(x: Shaped[Tensor, "B H C L E"], groups: Groups) -> Shaped[Tensor, "B H N E"]:
    """Bring slots back to the order of the tokens."""
    index = groups.slot[..., None].expand(-1, -1, -1, x.shape[-1])
    return x.flatten(2, 3).gather(2, index)


def with_previous(
    x: Shaped[Tensor, "B H C L E"], fill: int = 0
) -> Shaped[Tensor, "B H C two_L E"]:
    """Put the chunk before in front of each chunk; the first has `fill` before it."""
    before = F.pad(x, (0, 0, 0, 0, 1, 0), value=fill)[:, :, :-1]
    return torch.cat((before, x), dim=3)


def see(home: Int[Tensor, "*B N"], other: Int[Tensor, "*B M"]) -> Bool[Tensor, "*B N M"]:
    """Whether the second token stands in the first's chunk, or in the one before, of its group."""
    back = home[..., :, None] - other[..., None, :]
    return (back == 0) | (back == 1)


def seen_by_last(labels: Int[Tensor, "*B N"], chunk: int) -> Bool[Tensor, "*B N"]:
    """Which tokens stand in the last token's chunk, or in the chunk before, of its group."""
    same = labels == labels[..., -1:]
    home = (same.cumsum(dim=-1) - 1) // chunk
    return same & (home >= home[..., -1:] - 1)


class Part(NamedTuple):
    """Softmax over some of the keys: the mean of their values, and the log of their weight."""

    mean: Float[Tensor, "*B N E"]
    log_weight: Float[Tensor, "*B N 1"]


def attend_to_part(
    scores: Float[Tensor, "*B N M"], hidden: Bool[Tensor, "..."], v: Float[Tensor, "*B M E"]
) -> Part:
    """Weigh values by the softmax of scores that are not hidden; 0 where all are."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    log_weight = scores.logsumexp(dim=-1, keepdim=True)
    weights = (scores - log_weight).exp().masked_fill(hidden, 0.0)
    return Part(weights.to(v.dtype) @ v, log_weight)


def join_parts(parts: list[Part]) -> Float[Tensor, "*B N E"]:
    """Softmax over the union of keys of which each part saw some."""
    shares = torch.cat([part.log_weight for part in parts], dim=-1).softmax(dim=-1)
    means = torch.stack([part.mean for part in parts], dim=-1)
    return (means * shares[..., None, :].to(means.dtype)).sum(dim=-1)


def attend_to_chosen(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H n b E"],
    v: Float[Tensor, "B H n b E"],
    gone: Bool[Tensor, "B 1 n b"],
    choice: Int[Tensor, "B H N"],
) -> Part:
    """Attend from each scaled query to the one block of keys that it chose, n for none.

    Queries that chose the same block meet it together, so that no key is gathered per query.
    """
    blocks = k.shape[2]
    groups = sort_into_groups(choice, blocks + 1, min(k.shape[3], q.shape[2]))
    read = groups.group.clamp(max=blocks - 1)
    keys, values = (
        x.gather(2, read[..., None, None].expand(-1, -1, -1, *x.shape[3:])) for x in (k, v)
    )
    gone = gone.expand(-1, q.shape[1], -1, -1)
    hidden = gone.gather(2, read[..., None].expand(-1, -1, -1, gone.shape[3]))
    hidden = hidden | (groups.group >= blocks)[..., None]
    part = attend_to_part(to_slots(q, groups) @ keys.mT, hidden[..., None, :], values)
    return Part(*(from_slots(x, groups) for x in part))
