"""RWKV-7 against the paper's recurrence, token by token."""

import math

import pytest
import torch
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def drawn(**options):
    """Build with every parameter away from where it starts."""
    attention = build("rwkv7", "cs", **options).requires_grad_(False)
    for number, parameter in enumerate(attention.parameters()):
        parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def low_rank(layers, x, between):
    first, last = layers[0], layers[-1]
    out = between(x @ first.weight.T) @ last.weight.T
    return out if last.bias is None else out + last.bias


def recurrence(attention, x):
    """S <- S diag(w) - S kappa (a kappa)^T + v k~^T, read by r; S is (V, K) as in the paper."""
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
    for_r, for_w, for_k, for_v, for_a, for_g = (x + mu * (before - x) for mu in attention.shift)
    r, k, v = (
        part @ layer.weight.T
        for part, layer in (
            (for_r, attention.receptance), (for_k, attention.key), (for_v, attention.value)
        )
    )  # fmt: skip
    w = torch.exp(-math.exp(-0.5) * low_rank(attention.decay, for_w, torch.tanh).sigmoid())
    a = low_rank(attention.rate, for_a, lambda part: part).sigmoid()
    g = low_rank(attention.gate, for_g, torch.sigmoid)
    removal, k = k * attention.removal, k * (1 + (a - 1) * attention.replacement)
    out = torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        state = torch.zeros(x.shape[0], HEAD_WIDTH, HEAD_WIDTH, dtype=x.dtype)
        kappa = removal[..., cut]
        kappa = kappa / (kappa.square().sum(dim=-1, keepdim=True) + 1e-6).sqrt()
        for t in range(x.shape[1]):
            row, column = kappa[:, t, None], kappa[:, t, :, None]
            erased = state @ column @ (a[:, t, None, cut] * row)
            state = state * w[:, t, None, cut] - erased
            state = state + v[:, t, cut, None] * k[:, t, None, cut]
            read = (state @ r[:, t, cut, None])[..., 0]
            variance, mean = torch.var_mean(read, dim=-1, keepdim=True, correction=0)
            normed = (read - mean) / (variance + 1e-5 * HEAD_WIDTH).sqrt()
            normed = normed * attention.norm.weight[cut] + attention.norm.bias[cut]
            weight = (r[:, t, cut] * attention.bonus[head] * k[:, t, cut]).sum(-1, keepdim=True)
            out[:, t, cut] = normed + weight * v[:, t, cut]
    return (out * g) @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 2, 7, 70])
def test_rwkv7_is_its_recurrence(length):
    attention, x = drawn(), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), recurrence(attention, x)) <= 1e-10


def test_decays_stay_above_the_paper_s_bound():
    attention, x = drawn(), 1000 * draw(BATCH, 17, DIM)
    tokens, _ = attention.read(x, torch.zeros(BATCH, 1, DIM).double())
    assert tokens[-1].min() >= -math.exp(-0.5)
    assert tokens[-1].max() <= 0


def test_it_starts_as_in_the_authors_code():
    attention = build("rwkv7", "cs", dim=64, heads=4)
    x = draw(BATCH, 9, 64)
    (_, _, _, removed, rated, gate, log_decay), _ = attention.read(x, torch.zeros(BATCH, 1, 64))
    for constant in (gate, log_decay, rated / -removed):  # low-rank parts that read nothing yet
        torch.testing.assert_close(constant, constant[:1, :, :1].expand_as(constant))
    for name, size in (("receptance", 0.5), ("key", 0.05), ("value", 0.5)):
        largest = getattr(attention, name).weight.abs().max().item()
        assert 0.95 * size / 8 < largest <= size / 8
    for layers in (attention.decay, attention.rate, attention.gate):
        last = layers[-1].weight
        torch.testing.assert_close(last.T @ last, 0.01 * torch.eye(8).double(), atol=1e-6, rtol=0)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("rwkv7", "cs", dtype)
