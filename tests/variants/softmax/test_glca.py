"""Global-local cross attention: which tokens are chosen, and what they read."""

import pytest
import torch
from support import build, draw, relative_difference, right_padding

SIZES = {"dim": 20, "heads": 4}


def heads_alone(softmax, x, heads):
    """Softmax attention with only some of its heads."""
    kept = torch.zeros_like(softmax.output.weight)
    for head in heads:
        kept[:, head * 5 : (head + 1) * 5] = softmax.output.weight[:, head * 5 : (head + 1) * 5]
    q, k, v = (softmax.split_heads(f(x)) for f in (softmax.query, softmax.key, softmax.value))
    return softmax.merge_heads(softmax.attend(q, k, v)) @ kept.T


@pytest.mark.parametrize(
    ("share", "counts"), [(0.3, (3, 2, 1)), (1.0, (10, 6, 1)), (0.5, (5, 3, 1))]
)
@torch.no_grad()
def test_the_most_attended_tokens_attend_in_the_other_heads(share, counts):
    attention, softmax = build("glca", "ns", share=share, **SIZES), build("softmax", "ns", **SIZES)
    softmax.load_state_dict(attention.state_dict())
    x, lengths = draw(3, 10, 20), [10, 6, 1]
    out = attention(x, key_padding_mask=right_padding(lengths, 10))
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        one = x[row : row + 1, :length]
        q, k = (attention.split_heads(f(one))[0, :2] for f in (attention.query, attention.key))
        response = torch.zeros(length, dtype=x.dtype)
        for head in range(2):
            for t in range(length):
                response += (k[head] @ q[head, t] / 5**0.5).softmax(dim=0) / 2
        chosen = sorted(range(length), key=lambda s: -response[s].item())[:count]
        expected = heads_alone(softmax, one, [0, 1])[0]
        expected[chosen] += heads_alone(softmax, one, [2, 3])[0, chosen]
        assert relative_difference(out[row, :length], expected) <= 1e-12


@torch.no_grad()
def test_all_tokens_chosen_is_softmax_attention():
    attention, softmax = build("glca", "ns", share=1.0), build("softmax", "ns")
    softmax.load_state_dict(attention.state_dict())
    x = draw(2, 9, 15)
    assert relative_difference(attention(x), softmax(x)) <= 1e-12
