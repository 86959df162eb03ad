"""cosFormer against its cosine-weighted sum over pairs."""

import math

import pytest
import torch
from linear_oracles import assert_is, normalised
from long_sequences import LENGTH, assert_survives, both_dtypes
from support import DIM, build, draw

MAX_LENGTH = 256


def weigh_by_cosine(attention, q, k, v, head):
    distance = torch.arange(len(q))[:, None] - torch.arange(len(k))
    near = torch.cos(math.pi / 2 * distance.double() / MAX_LENGTH)
    return normalised(attention, q.relu() @ k.relu().T * near) @ v


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("pattern", ["ns", "cs", "nc"])
def test_cosformer_is_its_quadratic_form(pattern, chunk):
    assert_is("cosformer", pattern, weigh_by_cosine, chunk=chunk)


def test_the_weights_do_not_depend_on_the_length_at_hand():
    attention, x = build("cosformer", "cs"), draw(1, MAX_LENGTH, DIM)
    torch.testing.assert_close(attention(x[:, :31]), attention(x)[:, :31])


def test_no_weight_is_negative_at_the_longest_distance():
    attention, x = build("cosformer", "ns", dim=2, heads=1), torch.zeros(1, MAX_LENGTH, 2).double()
    with torch.no_grad():
        for part in (attention.query, attention.key, attention.value, attention.output):
            part.weight.copy_(torch.eye(2))
    # The first token asks with 1, the last answers with 1, all others are 0: only it weighs.
    x[0, 0, 0], x[0, -1, 0] = 1e-3, 1
    out = attention(x)[0, 0, 0]
    first, last = 1e-3 * 1.0, 1.0 * math.cos(math.pi / 2 * (MAX_LENGTH - 1) / MAX_LENGTH)
    torch.testing.assert_close(out.item(), (first * 1e-3 + last) / (first + last))


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("cosformer", "cs", dtype, max_length=LENGTH)
