"""Transposed attention is attention of a head's channels to each other."""

import pytest
import torch
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding


def by_the_paper(attention, x):
    """One row (N, D), channel by channel."""
    out = torch.zeros_like(x)
    q, k, v = (read(x) for read in (attention.query, attention.key, attention.value))
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        columns = [part[:, cut].T for part in (q, k, v)]  # a channel is a vector over tokens
        factor = attention.temperature[head].item()
        for i in range(HEAD_WIDTH):
            weights = torch.stack(
                [
                    (factor * torch.cosine_similarity(columns[0][i], column, dim=0)).exp()
                    for column in columns[1]
                ]
            )
            out[:, head * HEAD_WIDTH + i] = weights @ columns[2] / weights.sum()
    return attention.output(out)


@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_it_weighs_channels_by_the_cosine_of_their_columns(length):
    attention = build("channel", "ns")
    with torch.no_grad():
        attention.temperature.copy_(draw(HEADS, 1, 1))
        x = draw(BATCH, length, DIM)
        expected = torch.stack([by_the_paper(attention, row) for row in x])
        assert relative_difference(attention(x), expected) <= 1e-12


def test_padded_tokens_add_nothing_to_the_cosines():
    attention, x = build("channel", "ns"), draw(3, 9, DIM)
    padding = right_padding([9, 4, 1], 9).roll(2, dims=1)
    got = attention(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    for row in range(3):
        expected = by_the_paper(attention, x[row, ~padding[row]])
        assert relative_difference(got[row, ~padding[row]], expected) <= 1e-12


def test_the_order_of_tokens_does_not_matter():
    attention, x = build("channel", "ns"), draw(2, 9, DIM)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert relative_difference(attention(x)[:, order], attention(x[:, order])) <= 1e-12
