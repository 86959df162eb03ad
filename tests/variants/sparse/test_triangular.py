"""Triangular attention against spans found and read one by one."""

import pytest
import torch
from sparse_oracles import assert_equals_softmax, build_sparse
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding


def spans_of(attention, q, k, kept, start):
    """Spans of the chunk from `start` on (q, k (H, N, E)) by exhaustive search, best first."""
    settings = attention.config
    members = [s for s in range(start, start + settings.chunk) if s < len(kept) and kept[s]]
    gain = {}
    for i in members:
        for j in members:
            if j > i:
                continue
            row = [s for s in members if s <= i]
            scores = torch.stack([(q[:, i] * k[:, s]).sum(dim=-1) for s in row]) / HEAD_WIDTH**0.5
            weight = scores.softmax(dim=0)[row.index(j)]  # (H)
            gain[i, j] = (weight - settings.baseline).mean().item()
    candidates = []
    for x in range(start, start + settings.chunk):
        for y in range(x, min(x + settings.span, start + settings.chunk)):
            if x not in members or y not in members:
                continue
            score = sum(value for (i, j), value in gain.items() if x <= j <= i <= y)
            candidates.append((score, x, y))
    found = []
    for score, x, y in sorted(candidates, reverse=True):
        if score > 0 and len(found) < settings.spans and all(y < a or x > b for a, b in found):
            found.append((x, y))
    return found


def by_loops(attention, x, kept):
    """One row (N, D), in which padded tokens are 0."""
    settings, length = attention.config, len(x)
    parts = (attention.query, attention.key, attention.value)
    q, k, v = (part(x).reshape(length, HEADS, HEAD_WIDTH).transpose(0, 1) for part in parts)
    chunks = range(0, length, settings.chunk)
    spans = [spans_of(attention, q, k, kept, start) for start in chunks]
    out = torch.zeros(length, HEADS, HEAD_WIDTH, dtype=x.dtype)
    for t in range(length):
        own = t // settings.chunk
        near = [s for s in range(max(0, own - 1) * settings.chunk, t + 1) if kept[s]]
        for head in range(HEADS):
            ranked = []
            for a, b in [span for chunk in spans[: max(0, own - 1)] for span in chunk]:
                tokens = [s for s in range(a, b + 1) if kept[s]]
                index = k[head, tokens].mean(dim=0)
                ranked.append(((q[head, t] @ index).item(), tokens))
            best = sorted(ranked, reverse=True)[: settings.top_k]
            seen = near + [s for _, tokens in best for s in tokens]
            if seen:
                weights = (k[head, seen] @ q[head, t] / HEAD_WIDTH**0.5).softmax(dim=0)
                out[t, head] = weights @ v[head, seen]
    return attention.output(out.reshape(length, DIM))


SETTINGS = [
    {},
    {"chunk": 5, "spans": 3, "span": 2, "top_k": 2},
    {"chunk": 4, "span": 3, "top_k": 1, "baseline": 0.4},
    {"chunk": 3, "spans": 1, "span": 3, "top_k": 9, "baseline": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
@torch.no_grad()
def test_spans_are_found_and_read_as_the_docstring_says(settings):
    attention = build_sparse("triangular", "cs", **settings)
    for part in (attention.query, attention.key):
        part.weight.mul_(3)
    length = 29
    x, padding = 2 * draw(3, length, DIM), draw(3, length, seed="holes") > 0.7
    padding[0] = False
    out = attention(x.masked_fill(padding[:, :, None], float("nan")), key_padding_mask=padding)
    zeroed = x.masked_fill(padding[:, :, None], 0.0)
    for row in range(3):
        # A padded query is 0 and likes all spans as much: what it reads is not said.
        kept = ~padding[row]
        expected = by_loops(attention, zeroed[row], kept)
        assert relative_difference(out[row, kept], expected[kept]) <= 1e-12


def test_what_fits_the_near_chunks_is_softmax():
    assert_equals_softmax(build_sparse("triangular", "cs", chunk=16, span=8), 32)


@torch.no_grad()
def test_a_span_that_a_query_asks_for_is_read_from_far_away():
    """Query 63 meets its own key and those of tokens 9 to 11, which all score the same."""
    attention = build("triangular", "cs", dim=4, heads=1, top_k=1)
    for part in (attention.query, attention.key, attention.value, attention.output):
        part.weight.copy_(torch.eye(4))
    x = torch.zeros(1, 64, 4, dtype=torch.float64)
    x[0, [9, 10, 11, 63], 0] = 9.0
    x[0, 9:12, 1] = torch.tensor([1.0, 2.0, 3.0])
    assert abs(attention(x)[0, 63, 1].item() - 6 / 4) <= 1e-9
    x[0, 63, 0] = -9.0
    assert abs(attention(x)[0, 63, 1].item()) <= 1e-9


def test_decoding_finds_the_same_spans():
    attention = build("triangular", "cs").requires_grad_(False)
    x = draw(BATCH, 41, DIM)
    state, outs = attention.initial_state(BATCH), []
    for t in range(41):
        out, state = attention.step(x[:, t], state)
        outs.append(out)
    assert relative_difference(torch.stack(outs, dim=1), attention(x)) <= 1e-12
    padding = right_padding([41, 30, 9, 1], 41)
    masked = attention(x, key_padding_mask=padding)
    assert relative_difference(masked[0], attention(x)[0]) <= 1e-12
