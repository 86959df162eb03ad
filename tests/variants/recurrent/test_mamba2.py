"""Mamba-2 is attention with a mask of products of decays."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference

from cab.errors import CabError


def masked_attention(attention, x):
    """((C B^T) * L) (Delta u) + D u with L_ts the product of the decays after s up to t."""
    expand, state = attention.config.expand, attention.config.state_width
    projected = x @ attention.input.weight.T
    filters, bias = (
        attention.convolution.convolution.weight[:, 0],
        (attention.convolution.convolution.bias),
    )
    convolved = torch.zeros_like(projected) + bias
    for lag in range(min(4, x.shape[1])):
        convolved[:, lag:] += filters[:, -1 - lag] * projected[:, : x.shape[1] - lag]
    u, b, c = F.silu(convolved).split((expand * DIM, state, state), dim=-1)
    step = F.softplus(x @ attention.step_size.weight.T + attention.step_size.bias)
    decay = torch.exp(-torch.exp(attention.log_rate) * step)
    length, heads, out = x.shape[1], attention.heads, torch.zeros_like(u)
    width = expand * DIM // heads
    for head in range(heads):
        mask = torch.zeros(x.shape[0], length, length, dtype=x.dtype)
        for t in range(length):
            for s in range(t + 1):
                mask[:, t, s] = decay[:, s + 1 : t + 1, head].prod(dim=1)
        cut = slice(head * width, (head + 1) * width)
        driven = step[:, :, head, None] * u[..., cut]
        out[..., cut] = (mask * (c @ b.mT)) @ driven + attention.skip[head] * u[..., cut]
    gated = out * F.silu(x @ attention.gate.weight.T)
    normed = gated / (gated.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return normed @ attention.output.weight.T


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"expand": 2, "state_width": 7, "chunk": 5},
        {"head_width": 5},
        {"expand": 2, "head_width": 3},
    ],
)
@pytest.mark.parametrize("length", [1, 2, 7, 33, 70])
def test_mamba2_is_its_masked_quadratic_form(length, options):
    attention, x = build("mamba2", "cs", **options), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), masked_attention(attention, x)) <= 1e-11


def test_heads_are_its_own_and_as_many_as_the_layers_where_they_cannot_be():
    assert build("mamba2", "cs", dim=64, heads=1).heads == 8
    assert build("mamba2", "cs", dim=64, heads=1, head_width=32).heads == 2
    assert build("mamba2", "cs", dim=15, heads=3).heads == 3
    with pytest.raises(CabError, match="head_width"):
        build("mamba2", "cs", head_width=0)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("mamba2", "cs", dtype)
