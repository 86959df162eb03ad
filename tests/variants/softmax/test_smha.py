"""Selective multi-head attention: heads attend among the tokens that chose them."""

import pytest
import torch
from support import build, draw, relative_difference, right_padding

MANY = {"dim": 20, "heads": 4}
PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def by_loops(attention, x, count):
    """The docstring's equations for one row."""
    q, k, v = attention.query(x), attention.key(x), attention.value(x)
    shares = (x @ attention.router.weight.T).softmax(dim=-1)
    chosen = [row.argsort(descending=True)[:count].tolist() for row in shares]
    out = torch.zeros_like(x)
    for t in range(len(x)):
        for head in chosen[t]:
            cut = slice(5 * head, 5 * head + 5)
            last = t + 1 if attention.pattern == "cs" else len(x)
            seen = [s for s in range(last) if head in chosen[s]]
            weights = (k[seen][:, cut] @ q[t, cut] / 5**0.5).softmax(dim=0)
            out[t, cut] = 4 * shares[t, head] * (weights @ v[seen][:, cut])
    return attention.output(out)


@PATTERNS
@pytest.mark.parametrize(("active", "count"), [(0.5, 2), (0.1, 1), (0.8, 3), (1.0, 4)])
@torch.no_grad()
def test_it_is_its_equation_in_loops(pattern, active, count):
    attention, x = build("smha", pattern, active=active, **MANY), draw(3, 11, 20)
    lengths = [11, 6, 1]
    out = attention(x, key_padding_mask=right_padding(lengths, 11))
    for row, length in enumerate(lengths):
        expected = by_loops(attention, x[row, :length], count)
        assert relative_difference(out[row, :length], expected) <= 1e-12


@PATTERNS
@torch.no_grad()
def test_an_even_router_that_chooses_all_heads_is_softmax_attention(pattern):
    attention, softmax = build("smha", pattern, active=1.0), build("softmax", pattern)
    attention.router.weight.zero_()
    state = attention.state_dict()
    state.pop("router.weight")
    softmax.load_state_dict(state)
    x = draw(2, 9, 15)
    assert relative_difference(attention(x), softmax(x)) <= 1e-12
