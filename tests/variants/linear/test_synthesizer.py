"""The synthesizer against its logits, place by place."""

import pytest
import torch
from support import BATCH, DIM, HEAD_WIDTH, HEADS, VARIANTS, build, draw, relative_difference

from cab.taxonomy import Pattern

COLUMNS = 16
"""With a max_length of 256 the factors have 16 entries each."""


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 17, 40])
def test_each_token_makes_its_row_of_logits_alone(length):
    attention, x = build("synthesizer", "ns"), draw(BATCH, length, DIM)
    hidden, values, mixed = attention.hidden(x).relu(), attention.value(x), torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        a = hidden[..., cut] @ attention.row_map[head]
        b = hidden[..., cut] @ attention.column_map[head]
        logits = [a[..., s // COLUMNS] * b[..., s % COLUMNS] for s in range(length)]
        mixed[..., cut] = torch.stack(logits, dim=2).softmax(dim=2) @ values[..., cut]
    assert relative_difference(attention(x), attention.output(mixed)) <= 1e-12


def test_the_weights_of_a_token_do_not_depend_on_the_others():
    attention = build("synthesizer", "ns")
    x, other = draw(1, 17, DIM), draw(1, 17, DIM, seed="other")
    other[:, 3] = x[:, 3]
    # Output 3 is then linear in all values.
    middle = attention((x + other) / 2)[:, 3]
    torch.testing.assert_close(middle, (attention(x) + attention(other))[:, 3] / 2)


@pytest.mark.parametrize("longest", [1, 2, 3, 5, 12, 17])
def test_the_factors_cover_every_position(longest):
    kind = VARIANTS.load("synthesizer")
    attention = kind(dim=DIM, heads=HEADS, pattern=Pattern.NS, max_length=longest).double()
    rows, columns = attention.row_map.shape[2], attention.column_map.shape[2]
    assert longest <= rows * columns
    assert abs(rows - columns) <= 1
    assert attention(draw(2, longest, DIM)).shape == (2, longest, DIM)
