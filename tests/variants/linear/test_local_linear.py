"""Local linear attention against least squares, query by query, and its limits."""

import pytest
import torch
from linear_oracles import assert_is, softmax_twin
from support import DIM, build, draw, relative_difference

patterns = pytest.mark.parametrize("pattern", ["ns", "cs"])


def regress(attention, q, k, v, head):
    """Solve min sum p |v - b - W (k - q)|^2 + ridge |W|^2 by stacked least squares."""
    rows, width = [], k.shape[1]
    for t, query in enumerate(q):
        seen = slice(0, t + 1) if attention.pattern == "cs" else slice(None)
        root = (k[seen] @ query / width**0.5).softmax(dim=0).sqrt()[:, None]
        inputs = torch.cat((torch.ones_like(root), k[seen] - query), dim=1) * root
        penalty = torch.eye(width + 1).double()[1:] * attention.config.ridge**0.5
        outputs = torch.cat((v[seen] * root, torch.zeros_like(penalty[:, 1:])))
        rows.append(torch.linalg.lstsq(torch.cat((inputs, penalty)), outputs).solution[0])
    return torch.stack(rows)


@pytest.mark.parametrize("ridge", [0.1, 1.0])
@patterns
def test_it_is_the_constant_of_a_weighted_regression(pattern, ridge):
    assert_is("local-linear", pattern, regress, limit=1e-9, ridge=ridge, block=5)


@patterns
def test_a_large_penalty_leaves_softmax_attention(pattern):
    attention, x = build("local-linear", pattern, ridge=1e12), draw(2, 17, DIM)
    assert relative_difference(attention(x), softmax_twin(attention)(x)) <= 1e-10


def test_a_linear_relation_is_read_without_bias():
    # Values that are linear in the keys: the regression gives the line at the query itself,
    # which softmax attention, a mean of values, misses.
    attention, x = build("local-linear", "ns", ridge=1e-9), draw(1, 33, DIM)
    q, k = (attention.split_heads(part(x)) for part in (attention.query, attention.key))
    line = draw(5, 5, seed="line")
    torch.testing.assert_close(attention.attend(q, k, k @ line + 1), q @ line + 1)


@patterns
def test_blocks_change_neither_values_nor_gradients(pattern):
    results = []
    for block in (3, 64):
        attention, x = build("local-linear", pattern, block=block), draw(2, 17, DIM)
        out = attention(x.requires_grad_())
        results.append((out, *torch.autograd.grad(out.square().sum(), (x, attention.key.weight))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
