"""Gated linear attention against its recurrence, and at the limit of gates that never close."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

KEYS = 3  # half of 5, rounded up


def recurrence(attention, x):
    """S = diag(alpha) S + k v^T, o = S^T q, head by head and token by token."""
    first, second = attention.decay
    alpha = torch.sigmoid(x @ first.weight.T @ second.weight.T + second.bias) ** (1 / 16)
    out = torch.zeros_like(x)
    for head in range(HEADS):
        keys = slice(head * KEYS, (head + 1) * KEYS)
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        state = torch.zeros(x.shape[0], KEYS, HEAD_WIDTH, dtype=x.dtype)
        for t in range(x.shape[1]):
            q = x[:, t] @ attention.query.weight[keys].T / KEYS**0.5
            k = x[:, t] @ attention.key.weight[keys].T
            v = x[:, t] @ attention.value.weight[cut].T
            state = alpha[:, t, keys, None] * state + k[:, :, None] * v[:, None]
            out[:, t, cut] = F.layer_norm((q[:, None] @ state)[:, 0], (HEAD_WIDTH,))
    gate = F.silu(x @ attention.gate.weight.T + attention.gate.bias)
    return (gate * out) @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 2, 7, 65])
def test_gla_is_its_recurrence(length):
    attention, x = build("gla", "cs"), draw(BATCH, length, DIM)
    with torch.no_grad():
        assert relative_difference(attention(x), recurrence(attention, x)) <= 1e-11


def test_gates_that_never_close_leave_plain_linear_attention():
    attention, x = build("gla", "cs", temperature=1e15).requires_grad_(False), draw(BATCH, 40, DIM)
    attention.decay[1].bias.zero_()
    (q, k, v, log_decay), _ = attention.read(x, torch.empty(BATCH, 0, 0))
    expected = torch.tril(q @ k.mT) @ v
    assert relative_difference(attention.mix(q, k, v, log_decay), expected) <= 1e-10


@pytest.mark.parametrize("name", ["gla", "hgrn2"])
def test_a_padded_token_in_between_is_as_if_it_were_not_there(name):
    attention, x = build(name, "cs"), draw(1, 9, DIM)
    padding = torch.zeros(1, 9, dtype=torch.bool)
    padding[:, [0, 4, 5]] = True
    filled = x.masked_fill(padding[:, :, None], float("nan"))
    got = attention(filled, key_padding_mask=padding)[:, ~padding[0]]
    assert relative_difference(got, attention(x[:, ~padding[0]])) <= 1e-11


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("gla", "cs", dtype)
