"""MALA against the paper's two factors."""

import pytest
import torch
import torch.nn.functional as F
from linear_oracles import assert_is
from long_sequences import assert_survives, both_dtypes
from support import build, draw


def weights_of(attention, q, k):
    """w_ts = beta_t phi(q_t) . phi(k_s) - gamma_t, row by row."""
    rows = []
    for t in range(len(q)):
        count = t + 1 if attention.pattern == "cs" else len(k)
        products = (F.elu(k[:count]) + 1) @ (F.elu(q[t]) + 1) / (count * q.shape[1] ** 0.5)
        beta, gamma = 1 + 1 / products.sum(), products.sum() / count
        rows.append(F.pad(beta * products - gamma, (0, len(k) - count)))
    return torch.stack(rows)


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_mala_weighs_by_beta_and_gamma_and_its_weights_sum_to_one(pattern):
    def mix(attention, q, k, v, head):
        weights = weights_of(attention, q, k)
        torch.testing.assert_close(weights.sum(dim=1), weights.new_ones(len(q)))
        return weights @ v

    assert_is("mala", pattern, mix)


def test_a_longer_query_moves_the_output_further_from_the_mean():
    attention = build("mala", "ns")
    q, k, v = draw(1, 1, 40, 5, seed="q").abs(), draw(1, 1, 40, 5), draw(1, 1, 40, 5, seed="v")
    moves = [
        (attention.attend(scale * q, k, v) - v.mean(dim=2, keepdim=True)).norm(dim=-1)
        for scale in (1, 2, 4)
    ]
    assert (moves[1] > moves[0]).all()
    assert (moves[2] > moves[1]).all()


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("mala", "cs", dtype)
