"""Monotonic cross attention: the path, what each query reads around it, and its gradients."""

import pytest
import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEAD_WIDTH,
    HEADS,
    build,
    draw,
    relative_difference,
    right_padding,
)

NAMES = ["monotonic-hard", "monotonic-window", "segmental"]
EACH = pytest.mark.parametrize("name", NAMES)
CUTS = [slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH) for head in range(HEADS)]


def greedy_path(scores):
    """t_s = argmax of row s behind t_{s-1}, from 0; the last position where none is left."""
    positions, previous = [], -1
    for row in scores:
        open_still = range(previous + 1, len(row))
        previous = max(open_still, key=lambda t: row[t].item()) if open_still else len(row) - 1
        positions.append(previous)
    return positions


def read(attention, scores, position, previous):
    """The positions that a query reads."""
    last = len(scores) - 1
    if attention.card.name == "monotonic-hard":
        return [position]
    if attention.card.name == "segmental":
        return list(range(min(previous + 1, last), position + 1))
    w = attention.config.window
    return [t for t in range(position - w // 2, position + (w + 1) // 2) if 0 <= t <= last]


def by_loops(attention, x, z):
    """The docstrings' equations for one row: x (N, D), z (M, D)."""
    q, k, v = attention.query(x), attention.key(z), attention.value(z)
    out = torch.zeros_like(x)
    for head, cut in enumerate(CUTS):
        scores = q[:, cut] @ k[:, cut].T / HEAD_WIDTH**0.5
        ends = scores
        if attention.card.name == "segmental":
            ends = (q[:, cut] * attention.ends[head]) @ k[:, cut].T / HEAD_WIDTH**0.5
        previous = -1
        for s, position in enumerate(greedy_path(ends)):
            seen = read(attention, scores[s], position, previous)
            out[s, cut] = scores[s, seen].softmax(dim=0) @ v[seen][:, cut]
            previous = position
    return attention.output(out)


@EACH
@pytest.mark.parametrize("length", [1, 2, 9, 16])
@torch.no_grad()
def test_it_is_the_greedy_path_in_loops(name, length):
    attention = build(name, "cc")
    x, z = draw(BATCH, length, DIM), draw(BATCH, CONTEXT, DIM)
    lengths = [CONTEXT, 13, 5, 1]
    out = attention(x, z, key_padding_mask=right_padding(lengths, CONTEXT))
    for row, kept in enumerate(lengths):
        assert relative_difference(out[row], by_loops(attention, x[row], z[row, :kept])) <= 1e-12


@torch.no_grad()
def test_queries_that_name_their_positions_read_them_in_order():
    attention = build("monotonic-hard", "cc", dim=60, heads=3)
    for projection in (attention.query, attention.key, attention.value, attention.output):
        projection.weight.copy_(torch.eye(60))
    places = torch.eye(20, dtype=torch.float64).repeat(1, 3)
    out = attention(places[None, 1:19:2], places[None, :19])[0]
    assert relative_difference(out, places[1:19:2]) <= 1e-12
    backwards = attention(places[None, [7, 3, 5]], places[None, :19])[0]
    assert backwards.argmax(dim=-1)[0] == 7
    assert (backwards[:, :20].argmax(dim=-1).diff() > 0).all()


def test_hard_attention_learns_as_soft_attention_behind_the_last_position():
    attention = build("monotonic-hard", "cc")
    x, z, up = draw(1, 1, DIM), draw(1, CONTEXT, DIM), draw(1, 1, DIM, seed="from above")
    softmax = build("softmax", "cc")
    softmax.load_state_dict(attention.state_dict())
    for module in (attention, softmax):
        (module(x, z) * up).sum().backward()
    for name in ("query", "key"):  # of the first query all positions are open
        got, expected = (getattr(one, name).weight.grad for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


def test_ends_of_segments_learn_by_the_stated_estimate():
    attention = build("segmental", "cc", dim=HEAD_WIDTH, heads=1)
    x, z = draw(1, 1, HEAD_WIDTH), draw(1, 7, HEAD_WIDTH)
    up = draw(1, 1, HEAD_WIDTH, seed="from above")
    (attention(x, z) * up).sum().backward()
    ends = attention.ends.detach().clone().requires_grad_()
    with torch.no_grad():
        q, k, v = attention.query(x)[0, 0], attention.key(z)[0], attention.value(z)[0]
    scores = k @ q / HEAD_WIDTH**0.5
    p = (k @ (ends[0, 0] * q) / HEAD_WIDTH**0.5).softmax(dim=0)
    last = int(p.argmax())
    assert 0 < last < 6
    # A membership of 1 in value and of the sum of p_u over u >= t in slope.
    lasting = torch.stack([p[t:].sum() for t in range(last + 1)])
    membership = 1 + lasting - lasting.detach()
    weights = membership * scores[: last + 1].exp()
    out = attention.output((weights / weights.sum()) @ v[: last + 1])
    (out * up[0, 0]).sum().backward()
    assert relative_difference(attention.ends.grad, ends.grad) <= 1e-12
    assert ends.grad.abs().max() > 1e-6


@EACH
@torch.no_grad()
def test_the_state_holds_the_first_open_position(name):
    attention = build(name, "cc")
    x, z = draw(2, 9, DIM), draw(2, CONTEXT, DIM)
    whole = attention.prefill(x, attention.initial_state(2, z))[1].start
    state = attention.initial_state(2, z)
    for t in range(9):
        _, following = attention.step(x[:, t], state)
        assert ((following.start > state.start) | (state.start == CONTEXT - 1)).all()
        state = following
    assert state.start.equal(whole)
