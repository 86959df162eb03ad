"""The gated delta rule by Triton against the recurrence in float64, and every gradient."""

import pytest
import torch
import torch.nn.functional as F
from interpreted import DEVICE, DTYPES, LIMITS, assert_close, both, draw, load_kernels

from cab.kernels.linear.recurrent_reference import delta_rule_reference

kernels = load_kernels("delta_rule")
pytestmark = pytest.mark.usefixtures("interpreter")

NAMES = "o q k v strength log_decay"


def inputs(length, *, dtype=torch.float32, heads=2, decay=0.3, widths=(5, 7), batch=1):
    q, k = (draw(batch, heads, length, widths[0], seed=s) for s in (1, 2))
    v = draw(batch, heads, length, widths[1], seed=3)
    strength = draw(batch, heads, length, seed=4).sigmoid()
    log_decay = -decay * draw(batch, heads, length, seed=5).square()
    return [q.to(dtype), F.normalize(k, dim=-1).to(dtype), v.to(dtype), strength, log_decay]


@pytest.mark.parametrize(
    ("length", "dtype"),
    [(70, dtype) for dtype in DTYPES] + [(1, torch.float32), (64, torch.float32)],
    ids=str,
)
def test_chunks_equal_the_recurrence(length, dtype):
    tensors = inputs(length, dtype=dtype)
    pairs = both(kernels.triton_delta_rule, delta_rule_reference, tensors)
    assert_close(pairs, LIMITS[dtype], NAMES)


def test_rows_and_heads_keep_apart():
    tensors = inputs(20, heads=3, batch=2)
    pairs = both(kernels.triton_delta_rule, delta_rule_reference, tensors)
    assert_close(pairs, LIMITS[torch.float32], NAMES)


def test_the_same_key_at_full_strength_leaves_the_last_value():
    """The worst case of the triangular system: all overlaps are 1, powers of it reach 1e17."""
    q, k, v, strength, log_decay = inputs(70)
    k = k[:, :, :1].expand_as(k).contiguous()
    tensors = [q, k, v, torch.ones_like(strength), torch.zeros_like(log_decay)]
    pairs = both(kernels.triton_delta_rule, delta_rule_reference, tensors)
    # The gradient of the decays is the small rest of sums over a chunk.
    assert_close(pairs, 1e-4, NAMES)
    expected = (q * k).sum(dim=-1, keepdim=True) * v
    torch.testing.assert_close(pairs[0][0], expected, rtol=1e-5, atol=1e-5)


def test_no_strength_writes_nothing_and_decay_may_forget_all():
    q, k, v, strength, log_decay = inputs(33, decay=100.0)
    out = kernels.triton_delta_rule(
        *(x.to(DEVICE) for x in (q, k, v, torch.zeros_like(strength), log_decay))
    )
    assert not out.any()
    pairs = both(kernels.triton_delta_rule, delta_rule_reference, [q, k, v, strength, log_decay])
    assert_close(pairs, 1e-3, NAMES)


def test_nothing_passes_from_the_future():
    tensors = [x.to(DEVICE) for x in inputs(70)]
    before = kernels.triton_delta_rule(*tensors)[:, :, :31]
    for x in tensors:
        x[:, :, 31:] = 0.7
    assert torch.equal(kernels.triton_delta_rule(*tensors)[:, :, :31], before)


@pytest.mark.slow
@pytest.mark.parametrize("length", [63, 65, 128, 200])
@pytest.mark.parametrize("widths", [(16, 70), (70, 33), (128, 17)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_tiles_of_a_state(length, widths, dtype):
    tensors = inputs(length, dtype=dtype, widths=widths)
    pairs = both(kernels.triton_delta_rule, delta_rule_reference, tensors)
    assert_close(pairs, 2 * LIMITS[dtype], NAMES)
