"""Sparsifiner reads the keys that its predictor ranks highest; the predictor learns the map."""

import math

import numpy as np
import pytest
import torch
from sparse_oracles import assert_equals_softmax, build_sparse, masked_softmax
from support import BATCH, DIM, HEADS, draw, relative_difference, right_padding


def predicted_map(attention, x):
    """The predictor, written out for each head."""
    weights = {name: p.detach().numpy() for name, p in attention.named_parameters()}
    q, k = (
        attention.split_heads(read(x)).detach().numpy()
        for read in (attention.query, attention.key)
    )
    q = q @ weights["narrow_query.weight"].T + weights["narrow_query.bias"]
    k = k @ weights["narrow_key.weight"].T + weights["narrow_key.bias"]
    length, out = x.shape[1], []
    for row, head in np.ndindex(BATCH, HEADS):
        pooled = weights["basis_in"][:length].T @ k[row, head]
        mixture = np.exp(q[row, head] @ pooled.T / math.sqrt(HEADS))
        mixture /= mixture.sum(axis=1, keepdims=True)
        out.append(mixture @ weights["basis_out"][:length].T)
    return np.array(out).reshape(BATCH, HEADS, length, length)


@pytest.mark.parametrize(("keep", "length"), [(0.25, 17), (0.5, 7), (0.1, 5), (1.0, 9)])
def test_it_is_softmax_over_the_keys_predicted_highest(keep, length):
    attention, x = build_sparse("sparsifiner", keep=keep, rank=5), draw(BATCH, length, DIM)
    best = predicted_map(attention, x).argsort(axis=3)[..., ::-1][..., : math.ceil(keep * length)]
    visible = np.zeros((BATCH, HEADS, length, length), bool)
    np.put_along_axis(visible, best, True, axis=3)
    expected = masked_softmax(attention, x, visible)
    assert relative_difference(attention(x), expected) <= 1e-12


def test_with_all_keys_it_is_softmax():
    assert_equals_softmax(build_sparse("sparsifiner", keep=1.0), 17)


def test_the_predictor_learns_the_map_and_moves_nothing_else():
    attention = build_sparse("sparsifiner", rank=8, weight=1.0, max_length=12).train()
    # A map that a low rank can hold: each token attends to the places that its kind asks for.
    kinds, places = draw(3, DIM, seed="kinds"), torch.arange(12) % 3
    with torch.no_grad():
        attention.query.weight.mul_(4)
    kept = {name: p.detach().clone() for name, p in attention.named_parameters()}
    optimiser, losses = torch.optim.Adam(attention.parameters(), lr=0.02), []
    for step in range(150):
        attention(kinds[places] + 0.1 * draw(4, 12, DIM, seed=step))
        loss = attention.auxiliary_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    for name in ("query.weight", "key.weight", "value.weight", "output.weight"):
        assert attention.get_parameter(name).equal(kept[name])


def test_the_loss_ignores_padding():
    one, other = (build_sparse("sparsifiner").train() for _ in range(2))
    x, padding = draw(1, 17, DIM), right_padding([9], 17)
    one(x[:, :9])
    other(x.masked_fill(padding[..., None], float("nan")), key_padding_mask=padding)
    torch.testing.assert_close(one.auxiliary_loss(), other.auxiliary_loss())
