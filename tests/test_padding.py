"""Padding is ignored, whatever it holds, and rows of a batch never meet."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import batch_leak, padding_leak
from support import HEAD_WIDTH, PAIRS, build, draw

from cab.taxonomy import Pattern

ROUNDING = 1e-10
DISTANCE_AWARE = {"window"}
"""Mechanisms in which a removed token brings its neighbours nearer."""

pairs = pytest.mark.parametrize(("name", "pattern"), PAIRS)


@pytest.mark.parametrize("lengths", [[7, 2, 1, 6, 4], [65, 17, 64, 63], [130, 128, 16], [3, 0, 2]])
@pairs
def test_a_padded_row_equals_the_row_alone(name, pattern, lengths):
    assert padding_leak(build(name, pattern), lengths) <= ROUNDING


@pytest.mark.parametrize("fill", [float("inf"), 1e300, 0.0])
@pairs
def test_padding_may_hold_anything(name, pattern, fill):
    assert padding_leak(build(name, pattern), [7, 2, 0, 6], fill) <= ROUNDING


@pairs
def test_rows_of_a_batch_never_interact(name, pattern):
    assert batch_leak(build(name, pattern), 17) == 0.0


@pairs
def test_a_batch_of_padding_alone_stays_finite(name, pattern):
    assert padding_leak(build(name, pattern), [0, 0, 5]) <= ROUNDING
    attention = build(name, pattern)
    keys = torch.full((2, 7, attention.dim), float("nan"), dtype=torch.float64)
    padding = torch.ones(2, 7, dtype=torch.bool)
    queries = draw(2, 3, attention.dim) if pattern.cross else keys
    context = keys if pattern.cross else None
    assert attention(queries, context, key_padding_mask=padding).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pairs
def test_gradients_stay_finite_beside_padding(name, pattern, dtype):
    attention = build(name, pattern, dtype=dtype)
    padding = torch.tensor([[1, 1, 0, 0, 0, 1, 1], [1] * 7, [0] * 7], dtype=torch.bool)
    keys = draw(3, 7, attention.dim, dtype=dtype)
    keys = keys.masked_fill(padding[:, :, None], float("nan")).requires_grad_()
    queries = draw(3, 4, attention.dim, dtype=dtype, seed="queries").requires_grad_()
    stream, context = (queries, keys) if pattern.cross else (keys, None)
    out = attention(stream, context, key_padding_mask=padding)
    out.backward(1000 * draw(*out.shape, dtype=dtype, seed="from above"))
    leaves = [stream, *attention.parameters()]
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)
    assert keys.grad is None or not keys.grad[padding].any()


@pairs
@settings(max_examples=30)
@given(data=st.data())
def test_padding_anywhere_is_as_if_it_were_not_there(name, pattern, data):
    attention, length = build(name, pattern), data.draw(st.integers(1, 13), label="length")
    kept = data.draw(st.lists(st.booleans(), min_size=length, max_size=length), label="kept")
    if name in DISTANCE_AWARE or not any(kept):
        kept = [position >= length - max(1, sum(kept)) for position in range(length)]
    kept = torch.tensor(kept)
    keys = draw(1, length, attention.dim)
    filled = keys.masked_fill(~kept[:, None], float("nan"))
    if pattern.cross:
        queries = draw(1, 3, attention.dim, seed="queries")
        got = attention(queries, filled, key_padding_mask=~kept[None])
        expected = attention(queries, keys[:, kept])
    else:
        got = attention(filled, key_padding_mask=~kept[None])[:, kept]
        expected = attention(keys[:, kept])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", sorted({name for name, pattern in PAIRS if not pattern.cross}))
def test_the_mask_is_not_mixed_up_between_heads_and_rows(name):
    # As many rows as heads and as many tokens as the head is wide: shapes give no protection.
    attention = build(name, Pattern.NS, dim=HEAD_WIDTH * HEAD_WIDTH, heads=HEAD_WIDTH)
    assert padding_leak(attention, [5, 1, 2, 3, 4]) <= ROUNDING
