"""Adaptive filter attention against its equation with complex numbers, pair by pair."""

import pytest
import torch
import torch.nn.functional as F
from support import BATCH, build, draw, relative_difference, right_padding


def moved(pattern, dim, heads):
    attention = build("adaptive-filter", pattern, dim=dim, heads=heads).requires_grad_(False)
    for p in (attention.log_rates, attention.noises, attention.sharpness):
        p.add_(0.3 * draw(*p.shape))
    return attention


def complex_parts(x):
    """Pairs as complex numbers, and a channel that is left over as a real one."""
    half = x.shape[-1] // 2
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half])
    return torch.cat((pairs, x[..., 2 * half :].to(pairs)), dim=-1)


def by_loops(attention, x):
    """The docstring's equations for one row, channels being complex."""
    count, width = attention.filters, attention.width
    half = width // 2
    q, k, v = (
        complex_parts(f(x).unflatten(-1, (count, width)))
        for f in (attention.query, attention.key, attention.value)
    )
    omega = torch.zeros(width - half, dtype=x.dtype)
    omega[:half] = 10_000.0 ** -(torch.arange(half).double() / half)
    out = torch.zeros(len(x), count, width, dtype=x.dtype)
    for h in range(count):
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
                fit = torch.log(1 + residual / (scale * p * width / 2))
                scores.append(-(attention.sharpness[h] ** 2) * (torch.log(p) + fit))
                carried.append(flow * v[s, h])
            weights = torch.stack(scores).softmax(dim=0)
            mixed = (weights[:, None] * torch.stack(carried)).sum(dim=0)
            out[t, h] = torch.cat((mixed.real[:half], mixed.imag[:half], mixed.real[half:]))
    return attention.output(out.flatten(1))


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 9])
@pytest.mark.parametrize(("dim", "heads", "width"), [(24, 4, 6), (15, 3, 5), (18, 3, 3)])
@torch.no_grad()
def test_it_is_its_equation_in_complex_numbers(pattern, length, dim, heads, width):
    attention, x = moved(pattern, dim, heads), draw(BATCH, length, dim)
    assert attention.width == width
    lengths = [length, -(-length // 2), 1, 1]
    out = attention(x, key_padding_mask=right_padding(lengths, length))
    for row, kept in enumerate(lengths):
        expected = by_loops(attention, x[row, :kept])
        assert relative_difference(out[row, :kept], expected) <= 1e-10


@pytest.mark.parametrize(
    ("heads", "width", "filters"), [(1, 16, 4), (2, 16, 4), (4, 8, 4), (3, 6, 6), (3, 5, 3)]
)
def test_there_are_four_decays_where_the_width_allows_it(heads, width, filters):
    attention = build("adaptive-filter", "cs", dim=heads * width, heads=heads)
    assert attention.filters == filters
    assert len(attention.log_rates.unique()) == filters
    state = attention.initial_state(2)
    _, state = attention.step(draw(2, heads * width), state)
    assert state.k.numel() == 2 * heads * width
