"""Lightning attention against its sum over pairs."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def pairs(attention, x):
    """sum_s lambda^(t - s) (swish q_t . swish k_s) v_s, then the norm over all heads."""
    q, k, v = (x @ part.weight.T for part in (attention.query, attention.key, attention.value))
    q, k, out = F.silu(q), F.silu(k), torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        rate = torch.exp(torch.tensor(-(2.0 ** (-8 * (head + 1) / HEADS)), dtype=torch.float64))
        for t in range(x.shape[1]):
            for s in range(t + 1):
                weight = (q[:, t, cut] * k[:, s, cut]).sum(dim=-1, keepdim=True)
                out[:, t, cut] += rate ** (t - s) * weight * v[:, s, cut]
    out = out / (out.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    return out @ attention.output.weight.T


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 17])
def test_lightning_is_its_sum_over_pairs(length, block):
    attention, x = build("lightning", "cs", block=block), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), pairs(attention, x)) <= 1e-11


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("lightning", "cs", dtype)
