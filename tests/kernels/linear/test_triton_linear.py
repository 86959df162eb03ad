"""Linear attention by Triton against its quadratic form in float64, and every gradient."""

import pytest
import torch
from interpreted import DEVICE, DTYPES, LIMITS, assert_close, both, draw, load_kernels

kernels = load_kernels("linear")
pytestmark = pytest.mark.usefixtures("interpreter")


def inputs(queries, keys, *, dtype=torch.float32, heads=2, widths=(5, 7), batch=1):
    q = draw(batch, heads, queries, widths[0], seed=1, dtype=dtype)
    k = draw(batch, heads, keys, widths[0], seed=2, dtype=dtype)
    return [q, k, draw(batch, heads, keys, widths[1], seed=3, dtype=dtype)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", [(37, 70), (130, 1), (1, 65)], ids=str)
def test_queries_read_the_sum_over_all_keys(sizes, dtype):
    pairs = both(
        lambda q, k, v: kernels.triton_linear(q, k, v, causal=False),
        lambda q, k, v: (q @ k.mT) @ v,
        inputs(*sizes, dtype=dtype),
    )
    assert_close(pairs, LIMITS[dtype])


def test_states_larger_than_a_tile_and_sequences_cut_into_stretches():
    pairs = both(
        lambda q, k, v: kernels.triton_linear(q, k, v, causal=False),
        lambda q, k, v: (q @ k.mT) @ v,
        inputs(67, 200, widths=(70, 131), heads=1, batch=2),
    )
    assert_close(pairs, LIMITS[torch.float32])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_causal_attention_equals_the_masked_quadratic_form(dtype):
    pairs = both(
        lambda q, k, v: kernels.triton_linear(q, k, v, causal=True),
        lambda q, k, v: torch.tril(q @ k.mT) @ v,
        inputs(70, 70, dtype=dtype),
    )
    assert_close(pairs, LIMITS[dtype])


def test_a_causal_rectangle_is_refused():
    q, k, v = (x.to(DEVICE) for x in inputs(3, 4))
    with pytest.raises(ValueError, match="3 queries, 4 keys"):
        kernels.triton_linear(q, k, v, causal=True)


def test_a_long_half_precision_sum_goes_on_growing():
    ones = torch.ones(1, 1, 4096, 1, dtype=DTYPES[-1], device=DEVICE)
    out = kernels.triton_linear(ones[:, :, :1], ones, ones, causal=False)
    assert out.item() == 4096
