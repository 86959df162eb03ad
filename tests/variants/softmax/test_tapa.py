"""Token-aware phase attention turns scores by an angle that distance and content set."""

import math

import pytest
import torch
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def by_the_paper(attention, x, amplitude):
    """One row (N, D), pair by pair; `amplitude` channels of each head are the amplitude's."""
    length, phase = x.shape[0], HEAD_WIDTH - amplitude
    q, k, v = (read(x) for read in (attention.query, attention.key, attention.value))
    out = torch.zeros_like(x)
    for head in range(HEADS):
        start = head * HEAD_WIDTH
        first, second = (
            slice(start, start + amplitude),
            slice(start + amplitude, start + HEAD_WIDTH),
        )
        for t in range(length):
            scores = []
            for s in range(t + 1 if attention.pattern == "cs" else length):
                angle = q[t, second] @ k[s, second] / math.sqrt(phase)
                angle = angle * 2 * math.pi * abs(t - s) ** attention.config.power
                scores.append(q[t, first] @ k[s, first] / math.sqrt(amplitude) * angle.cos())
            weights = torch.stack(scores).softmax(dim=0)
            cut = slice(start, start + HEAD_WIDTH)
            out[t, cut] = weights @ v[: len(scores), cut]
    return attention.output(out)


@PATTERNS
@pytest.mark.parametrize(("options", "amplitude"), [({}, 2), ({"amplitude": 0.9}, 4)])
def test_it_is_the_formula_of_the_paper(pattern, options, amplitude):
    attention, x = build("tapa", pattern, power=0.3, **options), 2 * draw(2, 9, DIM)
    with torch.no_grad():
        expected = torch.stack([by_the_paper(attention, row, amplitude) for row in x])
        assert relative_difference(attention(x), expected) <= 1e-12


@PATTERNS
def test_without_a_phase_it_is_softmax_on_the_amplitude_s_part(pattern):
    attention, softmax = build("tapa", pattern), build("softmax", pattern)
    with torch.no_grad():
        for read in (attention.query, attention.key):
            read.weight.unflatten(0, (HEADS, -1))[:, 2:] = 0.0
    state = attention.state_dict()
    state["query.weight"] = state["query.weight"] * (HEAD_WIDTH / 2) ** 0.5
    softmax.load_state_dict(state)
    x = draw(BATCH, 17, DIM)
    assert relative_difference(attention(x), softmax(x)) <= 1e-12


def test_it_tells_neighbours_apart_in_bfloat16_beyond_where_its_integers_end():
    attention = build("tapa", "ns", power=1.0)
    q = torch.ones(1, HEADS, 600, HEAD_WIDTH, dtype=torch.bfloat16)
    k, v = q / 8, torch.zeros_like(q)
    v[:, :, 501, 0], v[:, :, 500, 1] = 64.0, 64.0
    got, expected = attention.attend(q, k, v), attention.attend(q.double(), k.double(), v.double())
    near, same = expected[0, 0, 500, :2]
    assert near < 0.9 * same
    assert relative_difference(got[:, :, 500], expected[:, :, 500]) <= 0.02 * same


@pytest.mark.parametrize("options", [{"amplitude": 0.0}, {"amplitude": 1.0}, {"power": 0.0}])
def test_parts_and_powers_that_cannot_be_are_refused(options):
    with pytest.raises(Exception, match="must"):
        build("tapa", "ns", **options)
    with pytest.raises(ValueError, match="width 2"):
        build("tapa", "ns", dim=3, heads=3)
