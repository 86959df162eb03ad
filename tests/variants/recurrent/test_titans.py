"""Titans' memory against its recurrence, with gradients found by autograd."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEADS, build, draw, relative_difference


def recurrence(attention, x, kept, heads=HEADS):
    """Rows (B, N, D): the loss is differentiated where the chunk began."""
    recent = torch.zeros(len(x), attention.config.kernel - 1, 3 * x.shape[2]).to(x)
    (q, k, v, _, _, _, _), _ = attention.read(x, recent)
    width, eta = x.shape[2] // heads, torch.sigmoid(attention.keep_momentum(x))
    theta = (1 - eta) * torch.sigmoid(attention.rate(x)) / attention.config.chunk
    keep, out = torch.sigmoid(attention.keep(x)), torch.zeros_like(x)
    for row in range(len(x)):
        for head in range(heads):
            memory = torch.zeros(q.shape[-1], width).to(x)
            momentum = memory
            for t in range(x.shape[1]):
                if t % attention.config.chunk == 0:
                    start = memory.detach().requires_grad_()
                if kept[row, t]:
                    with torch.enable_grad():
                        error = k[row, head, t] @ start - v[row, head, t]
                        (slope,) = torch.autograd.grad(error.square().sum() / 2, start)
                    momentum = eta[row, t, head] * momentum - theta[row, t, head] * slope
                    memory = keep[row, t, head] * memory + momentum
                mixed = q[row, head, t] @ memory
                mixed = mixed / (mixed.square().mean() + 1e-5).sqrt()
                out[row, t, head * width : (head + 1) * width] = mixed
    return (out * F.silu(attention.gate(x))) @ attention.output.weight.T


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 7, 50])
@pytest.mark.parametrize("options", [{}, {"chunk": 5, "kernel": 2}])
def test_titans_is_its_recurrence(length, options):
    attention, x = build("titans", "cs", **options), draw(BATCH, length, DIM)
    padding = draw(BATCH, length, seed="holes") > 0.7
    for mask in (None, padding):
        kept = torch.ones_like(padding) if mask is None else ~mask
        here = x.masked_fill(~kept[..., None], 0.0)
        got = attention(x, key_padding_mask=mask)
        assert relative_difference(got, recurrence(attention, here, kept)) <= 1e-10


@torch.no_grad()
@pytest.mark.parametrize(("dim", "heads"), [(16, 2), (16, 1)])
def test_fewer_than_four_heads_have_value_heads(dim, heads):
    attention, x = build("titans", "cs", dim=dim, heads=heads), draw(BATCH, 33, dim)
    kept = torch.ones(BATCH, 33, dtype=torch.bool)
    expected = recurrence(attention, x, kept, heads=4)
    assert relative_difference(attention(x), expected) <= 1e-10


def test_forgetting_starts_over_the_training_length():
    attention = build("titans", "cs", dim=64, heads=8)
    tau = -1 / F.logsigmoid(attention.keep.bias)
    # The bias is set in float32.
    expected = torch.tensor([4.0, 512.0]).double()
    torch.testing.assert_close(tau[[0, -1]], expected, rtol=1e-6, atol=0)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("titans", "cs", dtype)
