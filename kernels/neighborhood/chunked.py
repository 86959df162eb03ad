"""Neighbourhood attention by a gather: some hundreds of queries at a time with their k x k keys.

Time N k^2 (K + V). Memory N (K + V), and C k^2 (K + V) for C queries at a time, which are
computed again in the backward pass.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.kernels.neighborhood.reference import Pair, window_start

CHUNK = 256


def neighborhood_attention(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    *,
    grid: Pair,
    side: int,
    dilation: int = 1,
) -> Float[Tensor, "B H N V"]:
    """Return softmax over the side x side nearest tokens of a picture (height, width) = grid."""
    outputs = []
    for tokens in torch.arange(q.shape[2], device=q.device).split(CHUNK):
        asked = q[:, :, tokens], k, v, *_seen_by(tokens, grid, side, dilation)
        if torch.is_grad_enabled():
            outputs.append(
                checkpoint(_attend, *asked, use_reentrant=False, preserve_rng_state=False)
            )
        else:
            outputs.append(_attend(*asked))
    return torch.cat(outputs, dim=2)


def _attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, missing: Tensor) -> Tensor:
    scores = (k[:, :, seen] @ (q / q.shape[-1] ** 0.5)[..., None]).squeeze(-1)
    weights = scores.masked_fill(missing, -torch.inf).softmax(dim=-1)
    return (weights[..., None, :] @ v[:, :, seen]).squeeze(-2)


def _seen_by(
    tokens: Int[Tensor, " C"], grid: Pair, side: int, dilation: int
) -> tuple[Int[Tensor, "C S"], Tensor]:
    """Return the tokens that some tokens see, and where there is none (a lattice below k)."""
    width = grid[1]
    places, missing = [], []
    for t, length in zip((tokens // width, tokens % width), grid, strict=True):
        remainder = t % dilation
        own = (length - remainder + dilation - 1) // dilation
        place = window_start(t // dilation, own, side)[:, None] + torch.arange(
            min(side, -(-length // dilation)), device=t.device
        )
        missing.append(place >= own[:, None])
        places.append(place.minimum(own[:, None] - 1) * dilation + remainder[:, None])
    rows, columns = places
    seen = rows[:, :, None] * width + columns[:, None, :]
    absent = missing[0][:, :, None] | missing[1][:, None, :]
    return seen.flatten(1), absent.flatten(1)
