"""Luna against its two attentions, as softmax attention computes them."""

import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEADS, build, draw, relative_difference, right_padding


@torch.no_grad()
def nested(attention, row):
    """One row (N, D): pack by an attention of P to the row, unpack by one of the row to it."""

    def heads(x):
        return x.unflatten(-1, (HEADS, -1)).transpose(0, 1)

    written = heads(row @ attention.key.weight.T)
    packed = F.scaled_dot_product_attention(attention.queries, written, written)
    packed = heads(packed.transpose(0, 1).flatten(1) @ attention.value.weight.T)
    q = heads(row @ attention.query.weight.T)
    mixed = F.scaled_dot_product_attention(q, packed, packed)
    return attention.output(mixed.transpose(0, 1).flatten(1))


def test_luna_is_two_nested_attentions():
    for length in (1, 2, 17):
        attention, x = build("luna", "ns", packed=6), draw(BATCH, length, DIM)
        expected = torch.stack([nested(attention, row) for row in x])
        assert relative_difference(attention(x), expected) <= 1e-12


def test_padding_is_packed_nowhere():
    attention, x, lengths = build("luna", "ns", packed=6), draw(3, 17, DIM), [17, 9, 1]
    got = attention(x, key_padding_mask=right_padding(lengths, 17))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(got[row, :length], nested(attention, x[row, :length]))


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("luna", "ns", dtype)
