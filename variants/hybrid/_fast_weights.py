"""A network of fast weights per head, trained on the tokens that it is asked about (`lact`).

Dimensions: B batch, N length, H heads, E head width, F hidden width. The weights are W_0, W_2 and
the transpose of W_1, each (F, E), in f(x) = W_1 (SiLU(W_0 x) * W_2 x).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cab.kernels.linear.precision import in_float32

NEWTON_SCHULZ = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""Coefficients of the steps that make a matrix nearly orthogonal, those of the authors' code."""


class FastState(NamedTuple):
    """The decode state: W, its momentum, what the chunk has given so far, and the window."""

    weights: Float[Tensor, "B H 3 F E"]
    momentum: Float[Tensor, "B H 3 F E"]
    gradient: Float[Tensor, "B H 3 F E"]
    kept: Float[Tensor, "B H"]
    keys: Float[Tensor, "B H w E"]
    values: Float[Tensor, "B H w E"]
    length: Int[Tensor, "B 1"]


@in_float32
def ask_by_chunks(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    rates: Float[Tensor, "B H N 3"],
    kept: Float[Tensor, "B H N"],
    start: Float[Tensor, "H 3 F E"],
    chunk: int,
    muon: bool,
) -> Float[Tensor, "B H N E"]:
    """Return f(q) of a whole sequence, each chunk asked before it is learned."""
    norms, weights = _norms(start), start.expand(len(q), -1, -1, -1, -1)
    momentum, outputs = torch.zeros_like(weights), []
    chunks = zip(*(part.split(chunk, dim=2) for part in (q, k, v, rates, kept)), strict=True)
    for asked, read, target, rate, keep in chunks:
        outputs.append(_network(asked, weights))
        if len(outputs) * chunk < q.shape[2]:  # nobody asks what the last chunk would teach
            keep = keep.mean(dim=2)[..., None, None, None]
            momentum = keep * momentum + _slope(read, target, rate, weights)
            weights = _learned(weights, momentum, norms, muon)
    return torch.cat(outputs, dim=2)


@in_float32
def ask_at_once(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    rates: Float[Tensor, "B H N 3"],
    start: Float[Tensor, "H 3 F E"],
    muon: bool,
) -> Float[Tensor, "B H N E"]:
    """Return f(q) of a whole sequence after it has been learned in one step."""
    weights = start.expand(len(q), -1, -1, -1, -1)
    return _network(q, _learned(weights, _slope(k, v, rates, weights), _norms(start), muon))


@in_float32
def ask_and_learn(
    q: Float[Tensor, "B H 1 E"],
    k: Float[Tensor, "B H 1 E"],
    v: Float[Tensor, "B H 1 E"],
    rates: Float[Tensor, "B H 1 3"],
    kept: Float[Tensor, "B H 1"],
    state: FastState,
    start: Float[Tensor, "H 3 F E"],
    length: Int[Tensor, "B 1"],
    chunk: int,
    muon: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return f(q), and W, the momentum, the gradient and the sum of kept after the token."""
    out = _network(q, state.weights)
    gradient = state.gradient + _slope(k, v, rates, state.weights)
    total = state.kept + kept[..., 0]
    momentum = (total / chunk)[..., None, None, None] * state.momentum + gradient
    weights = _learned(state.weights, momentum, _norms(start), muon)
    ended = length % chunk == 0  # (B, 1)
    whole = ended[..., None, None, None]
    return (
        out,
        torch.where(whole, weights, state.weights),
        torch.where(whole, momentum, state.momentum),
        gradient.masked_fill(whole, 0.0),
        total.masked_fill(ended, 0.0),
    )


def _network(x: Float[Tensor, "B H N E"], weights: Float[Tensor, "B H 3 F E"]) -> Tensor:
    """Return f(x; W)."""
    gate, hidden = (x[:, :, None] @ weights[:, :, :2].mT).unbind(2)
    return (F.silu(gate) * hidden) @ weights[:, :, 2]


def _slope(
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    rates: Float[Tensor, "B H N 3"],
    weights: Float[Tensor, "B H 3 F E"],
) -> Float[Tensor, "B H 3 F E"]:
    """Return the sum over tokens of the rates times the derivatives of f(k) v by W."""
    gate, hidden = (k[:, :, None] @ weights[:, :, :2].mT).unbind(2)
    sigmoid = gate.sigmoid()
    active = gate * sigmoid
    above = v @ weights[:, :, 2].mT
    by_gate = above * hidden * sigmoid * (1 + gate - active)
    slopes = torch.stack((by_gate, above * active, active * hidden), dim=2)  # (B, H, 3, N, F)
    return slopes.mT @ (torch.stack((k, k, v), dim=2) * rates.mT[..., None])


def _learned(
    weights: Float[Tensor, "B H 3 F E"],
    momentum: Float[Tensor, "B H 3 F E"],
    norms: tuple[Tensor, Tensor],
    muon: bool,
) -> Float[Tensor, "B H 3 F E"]:
    """Add the step, and give the rows of W_0, W_2 and W_1 their first norms."""
    changed = weights + (_orthogonal(momentum) if muon else momentum)
    now = _norms(changed)
    parts = changed.split((2, 1), dim=-3)
    return torch.cat(
        [part * (norm / (own + 1e-5)) for part, norm, own in zip(parts, norms, now, strict=True)],
        dim=-3,
    )


def _norms(weights: Float[Tensor, "*B 3 F E"]) -> tuple[Tensor, Tensor]:
    """Return the norms of the rows; those of W_1 are columns here, as it is transposed."""
    up, down = weights.split((2, 1), dim=-3)
    return up.norm(dim=-1, keepdim=True), down.norm(dim=-2, keepdim=True)


def _orthogonal(x: Float[Tensor, "*B F E"]) -> Float[Tensor, "*B F E"]:
    """Return U V^T, nearly, of x = U S V^T."""
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x * (x.square().sum(dim=(-2, -1), keepdim=True) + 1e-14).rsqrt()
    for first, third, fifth in NEWTON_SCHULZ:
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return x.mT if tall else x
