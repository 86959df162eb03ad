"""Relative convolutional attention: convolutions of q, k and v, and scores that know distance."""

import math

import pytest
import torch
from softmax_oracles import future_moves, padding_moves
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def build_drawn(pattern, **options):
    attention = build("rcmha", pattern, **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            if parameter.ndim == 3:
                parameter.copy_(draw(*parameter.shape, seed=("drawn", number)))
    return attention


def by_the_formula(attention, x):
    """One row (N, D), pair by pair."""
    kernel, length = attention.config.kernel, x.shape[0]
    ahead = 0 if attention.pattern == "cs" else kernel - 1 - (kernel - 1) // 2
    parts = []
    for number, read in enumerate((attention.query, attention.key, attention.value)):
        projected, convolved = read(x).unflatten(-1, (HEADS, -1)), []
        own = attention.convolution.weight[number * HEAD_WIDTH :][:HEAD_WIDTH, 0]
        for t in range(length):
            reached = [(t + i - (kernel - 1 - ahead), own[:, i]) for i in range(kernel)]
            inside = [projected[s] * c for s, c in reached if 0 <= s < length]
            convolved.append(sum(inside))
        parts.append(torch.stack(convolved))
    q, k, v = parts
    rates = [10_000 ** (-i / DIM) for i in range(0, DIM, 2)]
    out = torch.zeros(length, HEADS, HEAD_WIDTH, dtype=x.dtype)
    for t in range(length):
        visible = range(t + 1 if attention.pattern == "cs" else length)
        for head in range(HEADS):
            scores = []
            for s in visible:
                angles = [(t - s) * rate for rate in rates]
                encoded = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
                encoded = torch.tensor(encoded[:DIM], dtype=x.dtype)
                distance = attention.distance(encoded).unflatten(-1, (HEADS, -1))[head]
                content = (q[t, head] + attention.content_bias[head, 0]) @ k[s, head]
                scores.append(content + (q[t, head] + attention.distance_bias[head, 0]) @ distance)
            weights = (torch.stack(scores) / HEAD_WIDTH**0.5).softmax(dim=0)
            out[t, head] = weights @ v[: len(scores), head]
    return attention.output(out.flatten(1))


@PATTERNS
@pytest.mark.parametrize(("kernel", "length"), [(3, 7), (1, 2), (4, 6), (5, 3), (3, 1)])
def test_it_is_its_formula(pattern, kernel, length):
    attention, x = build_drawn(pattern, kernel=kernel), draw(2, length, DIM)
    with torch.no_grad():
        expected = torch.stack([by_the_formula(attention, row) for row in x])
        assert relative_difference(attention(x), expected) <= 1e-12


@PATTERNS
def test_identity_kernels_without_distances_are_softmax(pattern):
    attention, softmax = build("rcmha", pattern), build("softmax", pattern)
    with torch.no_grad():
        attention.distance.weight.zero_()
        centre = 2 if pattern == "cs" else 1
        attention.convolution.weight.zero_()[:, :, centre] = 1.0
    state = attention.state_dict()
    softmax.load_state_dict({name: state[name] for name in softmax.state_dict()})
    x, padding = draw(BATCH, 17, DIM), right_padding([17, 8, 1, 3], 17)
    for mask in (None, padding):
        got, expected = (one(x, key_padding_mask=mask) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


@pytest.mark.parametrize("kernel", [1, 3, 6])
def test_drawn_kernels_show_neither_future_nor_padding(kernel):
    attention = build_drawn("cs", kernel=kernel)
    assert future_moves(attention, 17) <= 1e-12
    for pattern in ("ns", "cs"):
        drawn = build_drawn(pattern, kernel=kernel)
        assert padding_moves(drawn, [9, 2, 1, 6, 0]) <= 1e-11


@pytest.mark.parametrize("kernel", [1, 3, 12])
def test_it_steps_with_what_the_kernels_reach(kernel):
    attention, x = build_drawn("cs", kernel=kernel), draw(BATCH, 9, DIM)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-11
    assert state.recent.shape == (BATCH, HEADS, 3, kernel - 1, HEAD_WIDTH)
