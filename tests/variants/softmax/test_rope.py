"""Rotary positions are products with unit complex numbers, and see distances only."""

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def score(q, k, distance):
    """q . R^distance k by complex numbers; an odd last channel is not turned."""
    half = len(q) // 2
    rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    first, second = (torch.complex(x[:half], x[half : 2 * half]) for x in (q, k))
    turned = (first.conj() * second * torch.exp(1j * distance * rates)).sum().real
    return turned + q[2 * half :] @ k[2 * half :]


@PATTERNS
@pytest.mark.parametrize("width", [HEAD_WIDTH, 8, 1])
def test_it_is_the_formula_of_the_paper(pattern, width):
    attention = build("rope", pattern, dim=HEADS * width)

    def expected(x, source, padding):
        q, k, v = (
            split(x @ part.weight.T, HEADS)
            for part in (attention.query, attention.key, attention.value)
        )
        read = read_by_loops(
            lambda b, h, t, s: score(q[b, h, t], k[b, h, s], s - t) / width**0.5,
            v,
            x.shape[1],
            causal=pattern == "cs",
            padding=padding,
        )
        return merge(read) @ attention.output.weight.T

    if width > 1:
        assert max(differences(attention, expected)) <= 1e-12
    else:
        softmax = build("softmax", pattern, dim=HEADS)
        softmax.load_state_dict(attention.state_dict())
        x = draw(BATCH, 9, HEADS)
        assert relative_difference(attention(x), softmax(x)) <= 1e-12


@PATTERNS
def test_the_order_of_tokens_matters_and_where_they_begin_does_not(pattern):
    attention, x = build("rope", pattern), draw(BATCH, 12, DIM)
    q, k, v = (
        attention.split_heads(part(x))
        for part in (attention.query, attention.key, attention.value)
    )
    whole = attention.attend(q, k, v)
    padding = torch.zeros(BATCH, 12, dtype=torch.bool)
    padding[:, :5] = True
    later = attention.attend(q, k, v, key_padding_mask=padding)[:, :, 5:]
    alone = attention.attend(q[:, :, 5:], k[:, :, 5:], v[:, :, 5:])
    assert relative_difference(later, alone) <= 1e-12
    swapped = [0, 2, 1, *range(3, 12)]
    other = attention.attend(q, k[:, :, swapped], v[:, :, swapped])
    assert relative_difference(other[:, :, -1], whole[:, :, -1]) > 1e-3
