r"""Scores through products of Householder-like matrices, block by block.

    score(t, s) = q_t^T H_t H_{t-1} ... H_{s+1} k_s        H_l = I - b_l w_l w_l^T

Within a block of C tokens all products come from one unit triangular system (the UT transform;
Yang et al., 2025, "PaTH Attention", arXiv 2505.16381), and a block as a whole is one E x E matrix,
through which later queries go. Time N^2 (E + E^2 / C), memory N^2.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cab.kernels.linear.precision import in_float32
from cab.kernels.linear.scan import in_chunks


class Paths(NamedTuple):
    """Scores of all pairs (of use where s <= t), and what leads out of the sequence.

    queries are q_t^T H_t ... H_1, as rows, keys H_N ... H_{s+1} k_s, and total is H_N ... H_1.
    """

    scores: Float[Tensor, "B H N N"]
    queries: Float[Tensor, "B H N E"]
    keys: Float[Tensor, "B H N E"]
    total: Float[Tensor, "B H E E"]


@in_float32
def householder_paths(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    w: Float[Tensor, "B H N E"],
    strength: Float[Tensor, "B H N"],
    block: int = 64,
) -> Paths:
    """Return the paths of a sequence; strength is b, between 0 and 2 where |w| = 1."""
    length, width = q.shape[2:]
    block = min(block, length)
    q, k, w, strength = (in_chunks(x, block) for x in (q, k, w, strength))
    scaled = strength[..., None] * w
    system = torch.tril(scaled @ w.mT, -1)  # the unit diagonal is implied
    sides = torch.cat((scaled, torch.tril(scaled @ k.mT, -1)), dim=-1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    left, reading = solved.split((width, block), dim=-1)
    met = torch.tril(q @ w.mT)
    within = q @ k.mT - met @ reading
    begun, ended = q - met @ left, k - reading.mT @ w  # at the block's begin and end
    matrix = torch.eye(width, dtype=q.dtype, device=q.device) - w.mT @ left

    # From the last block to the first: the queries behind a block read its keys, then cross it.
    blocks, columns, keys = q.shape[2], [], []
    queries, total = q[:, :, 0, :0], torch.eye(width, dtype=q.dtype, device=q.device)
    for j in reversed(range(blocks)):
        above = within.new_zeros(*within.shape[:2], j * block, block)
        columns.append(torch.cat((above, within[:, :, j], queries @ ended[:, :, j].mT), dim=2))
        queries = torch.cat((begun[:, :, j], queries @ matrix[:, :, j]), dim=2)
        keys.append(ended[:, :, j] @ total.mT)
        total = total @ matrix[:, :, j]
    scores = torch.cat(columns[::-1], dim=-1)[:, :, :length, :length]
    keys_after = torch.cat(keys[::-1], dim=2)[:, :, :length]
    return Paths(scores, queries[:, :, :length], keys_after, total)


@in_float32
def carried(
    k: Float[Tensor, "B H M E"], total: Float[Tensor, "B H E E"]
) -> Float[Tensor, "B H M E"]:
    """Return keys from before a sequence as they are behind it."""
    return k @ total.mT
