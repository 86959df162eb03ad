"""Retention against the paper's parallel form, written with complex numbers."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def parallel(attention, x, heads, parts=1):
    """(Q K^T * D) V with Q, K times exp(i n theta), group norm, swish gate.

    The values of each of `heads` are cut into `parts`, which have decays of their own.
    """
    width, length = x.shape[2] // heads, x.shape[1]
    half, narrow = width // 2, width // parts
    n = torch.arange(length, dtype=torch.float64)
    theta = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    phase = torch.exp(1j * n[:, None] * theta)
    out = []
    for part in range(heads * parts):
        head = part // parts
        cut = slice(head * width, (head + 1) * width)
        q, k = (x @ layer.weight[cut].T for layer in (attention.query, attention.key))
        v = x @ attention.value.weight[part * narrow : (part + 1) * narrow].T
        q_turned, k_turned = (
            torch.complex(one[..., :half], one[..., half : 2 * half]) * phase for one in (q, k)
        )
        scores = (q_turned @ k_turned.mH).real + q[..., 2 * half :] @ k[..., 2 * half :].mT
        # Of 256 tokens: time constants from 4 to 512.
        gamma = 1 - 1 / (4 * 128 ** (part / (heads * parts - 1)))
        distance = n[:, None] - n
        decay = torch.where(distance >= 0, gamma**distance, 0.0)
        mixed = (scores * decay / width**0.5) @ v
        variance, mean = torch.var_mean(mixed, dim=-1, keepdim=True, correction=0)
        out.append((mixed - mean) / (variance + 1e-5).sqrt())
    gate = F.silu(x @ attention.gate.weight.T)
    return (gate * torch.cat(out, dim=-1)) @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 2, 7, 65, 130])
def test_retention_is_its_parallel_form(length):
    attention, x = build("retention", "cs"), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), parallel(attention, x, heads=3)) <= 1e-11


@pytest.mark.parametrize(("dim", "heads", "parts"), [(16, 2, 2), (20, 1, 4)])
def test_fewer_than_four_heads_have_value_heads(dim, heads, parts):
    attention, x = build("retention", "cs", dim=dim, heads=heads), draw(BATCH, 33, dim)
    assert relative_difference(attention(x), parallel(attention, x, heads, parts)) <= 1e-11


def test_only_distances_count():
    attention, x = build("retention", "cs"), draw(1, 9, DIM)
    zeros = torch.zeros(1, 40, DIM, dtype=torch.float64)
    got = attention(torch.cat((zeros, x), dim=1))[:, 40:]
    assert relative_difference(got, attention(x)) <= 1e-11


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_slow_decays_are_not_rounded_to_one(dtype):
    geometry = {"pattern": "cs", "max_length": 2**19, "train_length": 2**17}
    attention = type(build("retention", "cs"))(dim=16, heads=8, **geometry).to(dtype)
    tokens, _ = attention.read(draw(1, 3, 16, dtype=dtype), torch.empty(1, 0, 0))
    expected = torch.log1p(-(2.0 ** (-11 - torch.arange(8, dtype=torch.float64))))
    torch.testing.assert_close(tokens[-1][0, :, 0].double(), expected, rtol=1e-6, atol=0)


def test_eight_heads_at_2048_tokens_have_the_papers_decays():
    geometry = {"pattern": "cs", "max_length": 8192, "train_length": 2048}
    attention = type(build("retention", "cs"))(dim=16, heads=8, **geometry).double()
    tokens, _ = attention.read(draw(1, 3, 16), torch.empty(1, 0, 0))
    expected = 1 - 2.0 ** (-5 - torch.arange(8, dtype=torch.float64))
    torch.testing.assert_close(tokens[-1][0, :, 0].exp(), expected)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("retention", "cs", dtype)
