"""The soft mask falls from softmax attention to its causal half."""

import pytest
import torch
from support import DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding


def by_loops(attention, x, rate):
    q, k, v = attention.query(x), attention.key(x), attention.value(x)
    out = torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        for t in range(len(x)):
            weights = (k[:, cut] @ q[t, cut] / HEAD_WIDTH**0.5).softmax(dim=0)
            for s in range(len(x)):
                out[t, cut] += (1.0 if s <= t else rate) * weights[s] * v[s, cut]
    return attention.output(out)


@pytest.mark.parametrize(("done", "rate"), [(0, 1.0), (1, 0.75), (3, 0.25), (4, 0.0), (9, 0.0)])
@torch.no_grad()
def test_weights_of_later_tokens_fall_with_the_steps(done, rate):
    attention, x, lengths = build("soft-causal", "ns", steps=4), draw(3, 9, DIM), [9, 5, 1]
    for _ in range(done):
        attention.after_step()
    out = attention(x, key_padding_mask=right_padding(lengths, 9))
    for row, length in enumerate(lengths):
        expected = by_loops(attention, x[row, :length], rate)
        assert relative_difference(out[row, :length], expected) <= 1e-12


@torch.no_grad()
def test_it_starts_as_softmax_attention_and_ends_reading_no_later_token():
    attention, softmax, x = (
        build("soft-causal", "ns", steps=2),
        build("softmax", "ns"),
        draw(2, 9, DIM),
    )
    softmax.load_state_dict({k: w for k, w in attention.state_dict().items() if k != "done"})
    assert relative_difference(attention(x), softmax(x)) <= 1e-12
    attention.after_step()
    attention.after_step()
    other = build("soft-causal", "ns", steps=2, seed=1)
    other.load_state_dict(attention.state_dict())  # the count goes with the weights
    assert other(x).equal(attention(x))
    q, k, v = (attention.split_heads(f(x)) for f in (softmax.query, softmax.key, softmax.value))
    changed = v.clone()
    changed[:, :, 5:] += 1
    moved = (attention.attend(q, k, changed) - attention.attend(q, k, v)).abs().amax(dim=(0, 1, 3))
    assert (moved > 1e-6).tolist() == [False] * 5 + [True] * 4
