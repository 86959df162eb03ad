"""Tensor product attention sums outer products of factors, in place of projections to heads."""

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
OPTIONS = pytest.mark.parametrize(
    ("options", "ranks"), [({}, (3, 2)), ({"query_rank": 1, "rank": 3}, (1, 3))]
)


def heads_of(x, weight, rank):
    """The sum over r of a_r(x) b_r(x)^T / rank, term by term: (B, H, N, E)."""
    factors, total = x @ weight.T, 0
    for r in range(rank):
        a = factors[..., r * HEADS : (r + 1) * HEADS]
        start = rank * HEADS + r * HEAD_WIDTH
        b = factors[..., start : start + HEAD_WIDTH]
        total = total + torch.einsum("bnh,bne->bhne", a, b)
    return total / rank


@PATTERNS
@OPTIONS
def test_it_is_the_formula_of_the_paper(pattern, options, ranks):
    attention = build("tpa", pattern, **options)

    def expected(x, source, padding):
        q = heads_of(x, attention.query.weight, ranks[0])
        k, v = (
            heads_of(source, part.weight, ranks[1]) for part in (attention.key, attention.value)
        )
        read = read_by_loops(
            lambda b, h, t, s: q[b, h, t] @ k[b, h, s] / HEAD_WIDTH**0.5,
            v,
            x.shape[1],
            causal=pattern == "cs",
            padding=padding,
        )
        return merge(read) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


def test_the_state_holds_the_factors_alone_and_steps_to_the_same_answers():
    attention, x = build("tpa", "cs", dim=48, heads=8), draw(BATCH, 9, 48)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    assert state.k.shape == state.v.shape == (BATCH, 1, 9, 2 * (8 + 6))
    assert attention.query_rank == 6


def test_with_as_many_ranks_as_heads_it_can_be_softmax():
    attention, softmax = build("tpa", "cs", rank=HEADS), build("softmax", "cs")
    x = draw(BATCH, 17, DIM)
    x[..., -1] = 1.0  # a channel for what does not depend on the token
    with torch.no_grad():
        for name in ("query", "key", "value"):
            projection = getattr(softmax, name).weight
            factors = getattr(attention, name).weight
            factors[: HEADS * HEADS] = 0.0
            factors[: HEADS * HEADS, -1] = HEADS * torch.eye(HEADS).flatten()
            factors[HEADS * HEADS :] = projection
        attention.output.weight.copy_(softmax.output.weight)
    assert relative_difference(attention(x), softmax(x)) <= 1e-12


@pytest.mark.parametrize("options", [{"rank": 0}, {"query_rank": -1}])
def test_ranks_of_nothing_are_refused(options):
    with pytest.raises(Exception, match="query_rank and rank must be at least 1"):
        build("tpa", "cs", **options)
