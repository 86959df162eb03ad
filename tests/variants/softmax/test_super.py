"""Super attention mixes tokens along the sequence before it weighs them."""

import pytest
import torch
from softmax_oracles import future_moves, padding_moves
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])
RANKS = pytest.mark.parametrize("rank", [0, 3])


def by_the_paper(attention, x):
    """One row (N, D), head by head."""
    length, causal = x.shape[0], attention.pattern == "cs"
    if attention.config.rank:
        alignment = attention.left @ attention.right.T + torch.eye(256)
    else:
        alignment = attention.alignment
    allowed = torch.ones(length, length) > 0
    allowed = allowed.tril() if causal else allowed
    q, out = attention.query(x), []
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scores = (q[:, cut] @ x[:, cut].T / HEAD_WIDTH**0.5).where(allowed, -torch.inf)
        mixed = alignment[:length, :length].where(allowed, 0.0) @ x[:, cut]
        out.append(scores.softmax(dim=-1) @ mixed)
    return attention.output(torch.cat(out, dim=-1))


@PATTERNS
@RANKS
@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_values_are_mixed_by_the_first_rows_and_columns_of_the_matrix(pattern, rank, length):
    attention, x = build("super", pattern, rank=rank), draw(BATCH, length, DIM)
    expected = torch.stack([by_the_paper(attention, row) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-12


@PATTERNS
@RANKS
def test_the_identity_leaves_efficient_attention(pattern, rank):
    attention, efficient = build("super", pattern, rank=rank), build("efficient-kq", pattern)
    with torch.no_grad():
        if rank:
            attention.left.zero_()
        else:
            attention.alignment.copy_(torch.eye(256))
    state = attention.state_dict()
    efficient.load_state_dict({name: state[name] for name in efficient.state_dict()})
    x = draw(BATCH, 17, DIM)
    assert relative_difference(attention(x), efficient(x)) <= 1e-12


@RANKS
def test_the_mixed_values_hold_no_future_and_no_padding(rank):
    assert future_moves(build("super", "cs", rank=rank), 17) <= 1e-12
    for pattern in ("ns", "cs"):
        assert padding_moves(build("super", pattern, rank=rank), [7, 2, 1, 6, 0]) <= 1e-12


@RANKS
def test_it_steps_to_the_same_answers(rank):
    attention, x = build("super", "cs", rank=rank), draw(BATCH, 9, DIM)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
