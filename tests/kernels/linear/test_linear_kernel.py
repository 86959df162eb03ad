"""Causal linear attention in chunks against its quadratic form, in value and in gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import LENGTHS, draw, relative_difference

from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.reference import causal_linear_attention_reference

B, H, K, V = 2, 3, 4, 6


def inputs(length, dtype=torch.float64):
    """Draw q, k, v of sizes that all differ."""
    sizes = {"q": K, "k": K, "v": V}
    return [draw(B, H, length, size, seed=s, dtype=dtype) for s, size in sizes.items()]


def with_gradients(function, tensors, *options):
    """Return the output and the gradients of a fixed random projection of it."""
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    out = function(*tensors, *options)
    above = draw(*out.shape, seed="from above", dtype=out.dtype)
    return out, *torch.autograd.grad(out, tensors, above)


def test_the_reference_is_the_definition():
    q, k, v = inputs(5)
    expected = torch.zeros(B, H, 5, V, dtype=torch.float64)
    for t in range(5):
        for s in range(t + 1):
            weight = (q[:, :, t] * k[:, :, s]).sum(dim=-1, keepdim=True)
            expected[:, :, t] += weight * v[:, :, s]
    torch.testing.assert_close(causal_linear_attention_reference(q, k, v), expected)


@pytest.mark.parametrize("chunk", [1, 3, 16, 64, 129, 200])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_equal_the_reference(length, chunk):
    tensors = inputs(length)
    got = with_gradients(causal_linear_attention, tensors, chunk)
    expected = with_gradients(causal_linear_attention_reference, tensors)
    for mine, reference in zip(got, expected, strict=True):
        assert relative_difference(mine, reference) <= 1e-12


@settings(max_examples=60)
@given(length=st.integers(1, 50), chunk=st.integers(1, 60))
def test_chunks_equal_the_reference_at_any_length(length, chunk):
    tensors = inputs(length)
    got = with_gradients(causal_linear_attention, tensors, chunk)
    expected = with_gradients(causal_linear_attention_reference, tensors)
    for mine, reference in zip(got, expected, strict=True):
        assert relative_difference(mine, reference) <= 1e-12


@given(length=st.integers(2, 24), chunk=st.integers(1, 30), data=st.data())
def test_nothing_passes_from_the_future(length, chunk, data):
    cut = data.draw(st.integers(0, length - 2), label="cut")
    tensors = [tensor.requires_grad_() for tensor in inputs(length)]
    out = causal_linear_attention(*tensors, chunk)
    gradients = torch.autograd.grad(out[:, :, : cut + 1].square().sum(), tensors)
    assert not any(gradient[:, :, cut + 1 :].any() for gradient in gradients)
    changed = [tensor.detach().clone() for tensor in tensors]
    for tensor in changed:
        tensor[:, :, cut + 1 :] = 1e6
    again = causal_linear_attention(*changed, chunk)
    torch.testing.assert_close(again[:, :, : cut + 1], out[:, :, : cut + 1], rtol=0, atol=1e-10)


def test_gradients_equal_finite_differences():
    tensors = [tensor.requires_grad_() for tensor in inputs(5)]
    assert torch.autograd.gradcheck(lambda q, k, v: causal_linear_attention(q, k, v, 2), tensors)


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 8e-3), (torch.float16, 1e-3)]
)
def test_lower_precision_costs_no_more_than_rounding_inputs_and_output(dtype, limit):
    tensors = inputs(130, dtype)
    got = causal_linear_attention(*tensors)
    assert got.dtype == dtype
    assert relative_difference(got, causal_linear_attention_reference(*tensors)) <= limit


def test_a_long_bfloat16_sum_goes_on_growing():
    ones = torch.ones(1, 1, 2048, 1, dtype=torch.bfloat16)
    expected = torch.arange(1, 2049, dtype=torch.float64)
    got = causal_linear_attention(ones, ones, ones)[0, 0, :, 0]
    torch.testing.assert_close(got.double(), expected, rtol=2**-8, atol=0)
