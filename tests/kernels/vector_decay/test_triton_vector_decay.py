"""Vector decay by Triton against the recurrence in float64, forward and every gradient."""

import pytest
import torch
from interpreted import DEVICE, DTYPES, LIMITS, assert_close, both, draw, load_kernels

from cab.kernels.linear.recurrent_reference import vector_decay_reference

kernels = load_kernels("vector_decay")
pytestmark = pytest.mark.usefixtures("interpreter")

NAMES = "o q k v log_decay"


def inputs(length, *, dtype=torch.float32, heads=1, strength=0.3, widths=(5, 7), batch=1):
    q, k = (draw(batch, heads, length, widths[0], seed=s, dtype=dtype) for s in (1, 2))
    v = draw(batch, heads, length, widths[1], seed=3, dtype=dtype)
    return [q, k, v, -strength * draw(batch, heads, length, widths[0], seed=4).square()]


@pytest.mark.parametrize(
    ("length", "dtype"),
    [(70, torch.float32), (1, torch.float32)] + [(37, dtype) for dtype in DTYPES],
    ids=str,
)
def test_parts_and_chunks_equal_the_recurrence(length, dtype):
    tensors = inputs(length, dtype=dtype)
    pairs = both(kernels.triton_vector_decay, vector_decay_reference, tensors)
    assert_close(pairs, LIMITS[dtype], NAMES)


def test_rows_and_heads_keep_apart():
    tensors = inputs(7, heads=3, batch=2)
    pairs = both(kernels.triton_vector_decay, vector_decay_reference, tensors)
    assert_close(pairs, LIMITS[torch.float32], NAMES)


def test_decays_that_forget_all_at_once_stay_finite():
    tensors = inputs(37, strength=100.0)
    pairs = both(kernels.triton_vector_decay, vector_decay_reference, tensors)
    # Sums of decays of some thousands in float32 leave 1e-3 of an exponent uncertain.
    assert_close(pairs, 1e-3, NAMES)


def test_nothing_passes_from_the_future():
    q, k, v, log_decay = (x.to(DEVICE) for x in inputs(37))
    before = kernels.triton_vector_decay(q, k, v, log_decay)[:, :, :21]
    for x in (q, k, v, log_decay):
        x[:, :, 21:] = -7.0
    assert torch.equal(kernels.triton_vector_decay(q, k, v, log_decay)[:, :, :21], before)


@pytest.mark.slow
@pytest.mark.parametrize("length", [15, 16, 63, 64, 65, 130])
@pytest.mark.parametrize("widths", [(16, 70), (70, 65), (128, 17)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_tiles_of_a_state(length, widths, dtype):
    tensors = inputs(length, dtype=dtype, widths=widths)
    pairs = both(kernels.triton_vector_decay, vector_decay_reference, tensors)
    assert_close(pairs, 2 * LIMITS[dtype], NAMES)
