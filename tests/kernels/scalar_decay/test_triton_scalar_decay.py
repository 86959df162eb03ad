"""Scalar decay by Triton against the recurrence in float64, forward and every gradient."""

import pytest
import torch
from interpreted import DEVICE, DTYPES, LIMITS, assert_close, both, draw, load_kernels

from cab.kernels.linear.recurrent_reference import scalar_decay_reference

kernels = load_kernels("scalar_decay")
pytestmark = pytest.mark.usefixtures("interpreter")

B, H, K, V = 1, 2, 5, 7
NAMES = "o q k v log_decay"


def inputs(length, *, dtype=torch.float32, heads=(H, H), strength=0.3, batch=B, widths=(K, V)):
    q = draw(batch, heads[0], length, widths[0], seed=1, dtype=dtype)
    k = draw(batch, heads[1], length, widths[0], seed=2, dtype=dtype)
    v = draw(batch, H, length, widths[1], seed=3, dtype=dtype)
    return [q, k, v, -strength * draw(batch, H, length, seed=4).square()]


@pytest.mark.parametrize(
    ("length", "dtype"),
    [(70, dtype) for dtype in DTYPES] + [(1, torch.float32), (64, torch.float32)],
    ids=str,
)
def test_chunks_equal_the_recurrence(length, dtype):
    tensors = inputs(length, dtype=dtype)
    pairs = both(kernels.triton_scalar_decay, scalar_decay_reference, tensors)
    assert_close(pairs, LIMITS[dtype], NAMES)


@pytest.mark.parametrize("heads", [(1, H), (H, 1), (1, 1)])
def test_queries_or_keys_shared_by_all_heads_get_the_sum_of_their_gradients(heads):
    tensors = inputs(67, heads=heads, batch=2 if heads == (1, 1) else 1)
    pairs = both(kernels.triton_scalar_decay, scalar_decay_reference, tensors)
    assert_close(pairs, LIMITS[torch.float32], NAMES)


def test_decays_that_forget_all_at_once_stay_finite():
    tensors = inputs(70, strength=100.0)
    pairs = both(kernels.triton_scalar_decay, scalar_decay_reference, tensors)
    # Sums of decays of some thousands in float32 leave 1e-3 of an exponent uncertain.
    assert_close(pairs, 1e-3, NAMES)


def test_without_decay_it_is_the_quadratic_form():
    pairs = both(
        lambda q, k, v: kernels.triton_scalar_decay(q, k, v, None),
        lambda q, k, v: torch.tril(q @ k.mT) @ v,
        inputs(70)[:3],
    )
    assert_close(pairs, LIMITS[torch.float32])


def test_nothing_passes_from_the_future():
    q, k, v, log_decay = (x.to(DEVICE) for x in inputs(70))
    before = kernels.triton_scalar_decay(q, k, v, log_decay)[:, :, :31]
    for x in (q, k, v, log_decay):
        x[:, :, 31:] = -7.0
    assert torch.equal(kernels.triton_scalar_decay(q, k, v, log_decay)[:, :, :31], before)


def test_wide_keys_and_empty_sequences_are_refused():
    q, k, v, log_decay = (x.to(DEVICE) for x in inputs(3))
    with pytest.raises(ValueError, match="the widest is 128"):
        kernels.triton_scalar_decay(q.repeat(1, 1, 1, 30), k.repeat(1, 1, 1, 30), v, log_decay)
    with pytest.raises(ValueError, match="A size is 0"):
        kernels.triton_scalar_decay(q[:, :, :0], k[:, :, :0], v[:, :, :0], log_decay[:, :, :0])


@pytest.mark.slow
@pytest.mark.parametrize("length", [63, 65, 128, 200])
@pytest.mark.parametrize("widths", [(16, 128), (70, 65), (128, 17)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_tiles_of_a_state(length, widths, dtype):
    tensors = inputs(length, dtype=dtype, widths=widths)
    pairs = both(kernels.triton_scalar_decay, scalar_decay_reference, tensors)
    assert_close(pairs, 2 * LIMITS[dtype], NAMES)
