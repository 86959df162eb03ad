"""LightNet against its recurrence, token by token."""

import pytest
import torch
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def recur(attention, x):
    """S_t = z_{t-1} / z_t S_{t-1} + e^{k_t} / z_t v_t^T, read by silu(q_t), for one row."""
    length, mixed = len(x), torch.zeros_like(x)
    q, k, v = (part(x) for part in (attention.query, attention.key, attention.value))
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        state, total = torch.zeros(HEAD_WIDTH, HEAD_WIDTH).double(), torch.zeros(HEAD_WIDTH)
        states = []
        for t in range(length):
            before, total = total, total + torch.exp(k[t, cut])
            written = torch.exp(k[t, cut])[:, None] * v[t, cut]
            state = (before / total)[:, None] * state + written / total[:, None]
            states.append(state)
        for t in range(length):
            read = states[t] if attention.pattern == "cs" else states[-1]
            mixed[t, cut] = (q[t, cut] * torch.sigmoid(q[t, cut])) @ read
    norm = (mixed.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    gate = torch.sigmoid(x @ attention.gate[0].weight.T @ attention.gate[1].weight.T)
    return attention.output(mixed / norm * gate)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 17, 70])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_lightnet_is_its_recurrence(pattern, length):
    attention, x = build("lightnet", pattern), draw(BATCH, length, DIM)
    expected = torch.stack([recur(attention, row) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-11


def test_without_causality_the_order_of_the_tokens_does_not_matter():
    attention, x = build("lightnet", "ns"), draw(2, 17, DIM)
    torch.testing.assert_close(attention(x.flip(1)), attention(x).flip(1))


def test_keys_too_large_for_exponentials_keep_their_weights():
    attention, rounded = build("lightnet", "cs"), build("lightnet", "cs", dtype=torch.float32)
    x = 300 * draw(1, 40, DIM)
    expected = attention(x)
    assert (rounded(x.float()) - expected).abs().max() < 1e-2 * expected.abs().max()


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("lightnet", "cs", dtype)
