"""Adaptive filter attention against its equation with complex numbers, pair by pair."""

import pytest
import torch
import torch.nn.functional as F
from support import BATCH, build, draw, relative_difference, right_padding

SIZES = {"dim": 18, "heads": 3}
WIDTH = 6


def moved(pattern):
    attention = build("adaptive-filter", pattern, **SIZES).requires_grad_(False)
    assert (attention.filters, attention.width) == (3, 6)
    for p in (attention.log_rates, attention.noises, attention.sharpness):
        p.add_(0.3 * draw(*p.shape))
    return attention


def complex_parts(x):
    return torch.complex(x[..., : WIDTH // 2], x[..., WIDTH // 2 :])


def by_loops(attention, x):
    """The docstring's equations for one row, channels being complex."""
    q, k, v = (
        complex_parts(f(x).unflatten(-1, (3, WIDTH)))
        for f in (attention.query, attention.key, attention.value)
    )
    omega = 10_000.0 ** -(torch.arange(WIDTH // 2).double() / (WIDTH // 2))
    out = torch.zeros(len(x), 3, WIDTH, dtype=x.dtype)
    for h in range(3):
        rate, (process, measured, query, scale) = (
            attention.log_rates[h].exp(),
            F.softplus(attention.noises[:, h]),
        )
        for t in range(len(x)):
            seen = range(t + 1 if attention.pattern == "cs" else len(x))
            scores, carried = [], []
            for s in seen:
                gap = abs(t - s)
                flow = torch.exp(-rate * gap) * torch.exp(1j * omega * (t - s))
                lost = torch.exp(-2 * rate * gap)
                p = process * (1 - lost) / (2 * rate) + measured * lost + query
                residual = (q[t, h] - flow * k[s, h]).abs().square().sum()
                fit = torch.log(1 + residual / (scale * p * WIDTH / 2))
                scores.append(-(attention.sharpness[h] ** 2) * (torch.log(p) + fit))
                carried.append(flow * v[s, h])
            weights = torch.stack(scores).softmax(dim=0)
            mixed = (weights[:, None] * torch.stack(carried)).sum(dim=0)
            out[t, h] = torch.cat((mixed.real, mixed.imag))
    return attention.output(out.flatten(1))


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 9])
@torch.no_grad()
def test_it_is_its_equation_in_complex_numbers(pattern, length):
    attention, x = moved(pattern), draw(BATCH, length, 18)
    lengths = [length, -(-length // 2), 1, 1]
    out = attention(x, key_padding_mask=right_padding(lengths, length))
    for row, kept in enumerate(lengths):
        expected = by_loops(attention, x[row, :kept])
        assert relative_difference(out[row, :kept], expected) <= 1e-10


@pytest.mark.parametrize(
    ("heads", "width", "filters"), [(1, 16, 4), (2, 16, 4), (4, 8, 4), (3, 6, 3)]
)
def test_there_are_four_decays_where_the_width_allows_it(heads, width, filters):
    attention = build("adaptive-filter", "cs", dim=heads * width, heads=heads)
    assert attention.filters == filters
    assert len(attention.log_rates.unique()) == filters
    state = attention.initial_state(2)
    _, state = attention.step(draw(2, heads * width), state)
    assert state.k.numel() == 2 * heads * width
