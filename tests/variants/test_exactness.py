"""Variants compute their formulas: each compared with one written here, in NumPy and float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import (
    BATCH,
    CONTEXT,
    DIM,
    EXACT_PAIRS,
    LENGTHS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)
from torch import nn

from cab.attention import Attention


def expected_output(attention, x, context, padding, weigh, visible):
    """Mix by `weigh(q, k)` (unnormalised weights (N, M)) over the pairs that `visible` allows.

    visible(t, s) tells of every position, padding aside. Computed row by row and head by head.
    """
    source = x if context is None else context
    present = np.ones(source.shape[:2], bool) if padding is None else ~padding.numpy()
    read = {
        name: module.weight.detach().double().numpy()
        for name, module in attention.named_children()
        if isinstance(module, nn.Linear)
    }
    x, source = (np.nan_to_num(part.double().numpy()) for part in (x, source))
    width, out = attention.head_width, np.zeros(x.shape)
    t, s = np.arange(x.shape[1])[:, None], np.arange(source.shape[1])
    for row in range(x.shape[0]):
        for head in range(attention.heads):
            cut = slice(head * width, (head + 1) * width)
            q = x[row] @ read["query"][cut].T
            k, v = (source[row] @ read[name][cut].T for name in ("key", "value"))
            weights = weigh(q, k) * (visible(t, s) & present[row])
            total = weights.sum(axis=1, keepdims=True)
            out[row][:, cut] = weights @ v / np.where(total == 0, 1, total)
    return torch.from_numpy(out @ read["output"].T)


def exponentials(q, k):
    scores = q @ k.T / np.sqrt(q.shape[1])
    return np.exp(scores - scores.max(initial=0))


def products_of_features(q, k):
    def features(x):
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    return features(q) @ features(k).T


def visibility(attention, window=None):
    def visible(t, s):
        allowed = s <= t if attention.pattern == "cs" else s >= 0 * t
        return allowed if window is None else allowed & (np.abs(t - s) < window)

    return visible


def difference(
    attention: Attention, length: int, weigh=exponentials, *, window=None, padded=False
) -> float:
    dtype = attention.query.weight.dtype
    x = draw(BATCH, length, DIM, seed="stream", dtype=dtype)
    context = context_for(attention, BATCH)
    keys = length if context is None else CONTEXT
    padding = None
    if padded:
        padding = right_padding([keys, -(-keys // 2), 1, 0], keys).roll(1, dims=0)
    with torch.no_grad():
        got = attention(x, context, key_padding_mask=padding)
    visible = visibility(attention, window)
    expected = expected_output(attention, x, context, padding, weigh, visible)
    assert got.isfinite().all()
    if padding is not None and context is None:  # what stands at a padded query is not said
        got, expected = got[~padding], expected[~padding]
    return relative_difference(got, expected)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("name", "pattern"), EXACT_PAIRS)
def test_exact_variants_are_softmax_attention(name, pattern, length):
    attention = build(name, pattern)
    assert difference(attention, length) <= 1e-12
    assert difference(attention, length, padded=True) <= 1e-12


@pytest.mark.parametrize(("name", "pattern"), EXACT_PAIRS)
def test_exact_variants_are_softmax_attention_in_float32(name, pattern):
    assert difference(build(name, pattern, dtype=torch.float32), 130, padded=True) <= 2e-6


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_linear_attention_is_its_quadratic_form(pattern, length):
    attention = build("linear", pattern)
    assert difference(attention, length, products_of_features) <= 1e-12
    assert difference(attention, length, products_of_features, padded=True) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 7, 17, 64, 65])
def test_window_attention_is_softmax_over_the_near(pattern, length):
    for window in sorted({1, 2, 5, length, length + 3}):
        attention = build("window", pattern, window=window)
        assert difference(attention, length, window=window) <= 1e-12
        assert difference(attention, length, window=window, padded=True) <= 1e-12


@settings(max_examples=60)
@given(length=st.integers(1, 40), window=st.integers(1, 50), pattern=st.sampled_from(["ns", "cs"]))
def test_window_attention_is_right_for_any_length_and_window(length, window, pattern):
    attention = build("window", pattern, window=window)
    assert difference(attention, length, window=window, padded=True) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("more", [0, 3])
def test_a_window_as_long_as_the_sequence_is_softmax(pattern, more):
    attention, softmax = build("window", pattern, window=17 + more), build("softmax", pattern)
    softmax.load_state_dict(attention.state_dict())
    x, padding = draw(3, 17, DIM), right_padding([17, 4, 9], 17)
    for mask in (None, padding):
        got = attention(x, key_padding_mask=mask)
        assert relative_difference(got, softmax(x, key_padding_mask=mask)) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
@pytest.mark.parametrize("chunks", [(3, 5), (5, 3), (1, 2), (17, 200), (200, 200), (128, 1)])
def test_chunks_change_neither_values_nor_gradients(pattern, chunks):
    chunked = build("chunked", pattern, query_chunk=chunks[0], key_chunk=chunks[1])
    softmax = build("softmax", pattern)
    softmax.load_state_dict(chunked.state_dict())
    results = []
    for attention in (chunked, softmax):
        x = draw(BATCH, 17, DIM).requires_grad_()
        context = context_for(attention, BATCH)
        keys = 17 if context is None else CONTEXT
        padding = right_padding([keys, 8, 1, 0], keys)
        out = attention(x, context, key_padding_mask=padding)
        gradients = torch.autograd.grad(out.square().sum(), (x, *attention.parameters()))
        results.append((out, *gradients))
    for got, expected in zip(*results, strict=True):
        assert relative_difference(got, expected) <= 1e-12
