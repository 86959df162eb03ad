"""RALA against its weighted buffer, and its ranks against those of linear attention."""

import torch
import torch.nn.functional as F
from linear_oracles import assert_is, normalised
from long_sequences import assert_survives, both_dtypes
from support import build, draw


def weigh_by_mean_query(attention, q, k, v, head):
    queries, keys = F.elu(q) + 1, F.elu(k) + 1
    alpha = len(k) * (keys @ queries.mean(dim=0) / k.shape[1] ** 0.5).softmax(dim=0)
    return normalised(attention, queries @ (alpha[:, None] * keys).T) @ v


def test_rala_is_its_quadratic_form():
    assert_is("rala", "ns", weigh_by_mean_query, gate=lambda attention, x: attention.gate(x))


def test_the_gate_lifts_the_rank_of_the_output():
    # Linear attention's outputs span at most as many dimensions as a head is wide.
    attention, x = build("rala", "ns", dim=15, heads=1), draw(1, 60, 15)
    with torch.no_grad():  # queries that differ in two dimensions only
        attention.query.weight[2:] = 0
        attention.query.weight[:, 2:] = 0
    mixed = []
    attention.output.register_forward_pre_hook(lambda module, inputs: mixed.append(inputs[0]))
    attention(x)
    ungated = mixed[0] / attention.gate(x)
    ranks = [torch.linalg.matrix_rank(y[0], rtol=1e-9).item() for y in (ungated, mixed[0])]
    assert ranks[0] <= 4
    assert ranks[1] == 15


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("rala", "ns", dtype)
