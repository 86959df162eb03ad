"""Causal patterns never show the future: by changing it at every cut, and by autograd."""

import pytest
import torch
from laws import future_gradient, future_leak, jacobian
from support import CAUSAL_PAIRS, LENGTHS, build

from cab.taxonomy import Pattern

ROUNDING = 1e-10


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("name", "pattern"), CAUSAL_PAIRS)
def test_no_output_moves_when_the_future_changes(name, pattern, length):
    assert future_leak(build(name, pattern), length) <= ROUNDING


@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize(("name", "pattern"), CAUSAL_PAIRS)
def test_the_jacobian_is_zero_above_its_diagonal(name, pattern, length):
    assert future_gradient(build(name, pattern), length) == 0.0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("window", {"window": 1}),
        ("window", {"window": 5}),
        ("linear", {"chunk": 1}),
        ("linear", {"chunk": 5}),
        ("chunked", {"query_chunk": 3, "key_chunk": 5}),
        ("chunked", {"query_chunk": 5, "key_chunk": 3}),
    ],
)
def test_no_chunk_or_window_shows_its_tail(name, options):
    attention = build(name, "cs", **options)
    assert future_leak(attention, 17) <= ROUNDING
    assert future_gradient(attention, 9) == 0.0


@pytest.mark.parametrize("name", sorted({name for name, pattern in CAUSAL_PAIRS}))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_reaches_the_future_in_lower_precision(name, dtype):
    attention = build(name, "cs", dtype=dtype)
    x = torch.ones(1, 70, attention.dim, dtype=dtype, requires_grad=True)
    for t in (0, 15, 16, 63, 64, 68):
        (gradient,) = torch.autograd.grad(attention(x)[0, t].sum(), x)
        assert not gradient[0, t + 1 :].any()


@pytest.mark.parametrize("name", sorted({n for n, p in CAUSAL_PAIRS if p == Pattern.CS}))
def test_causal_self_attention_sees_the_past_it_may_see(name):
    seen = jacobian(build(name, "cs"), 7) > 0
    everything = torch.ones(7, 7, dtype=torch.bool).tril()
    assert seen.equal(torch.eye(7) > 0 if name == "none" else everything)


@pytest.mark.parametrize("name", sorted({n for n, p in CAUSAL_PAIRS if p == Pattern.CC}))
def test_causal_cross_attention_reads_no_other_token_of_the_stream(name):
    seen = jacobian(build(name, "cc"), 7) > 0
    # The mean of a context does not depend on who asks.
    expected = torch.zeros(7, 7, dtype=torch.bool) if name == "mean" else torch.eye(7) > 0
    assert seen.equal(expected)
