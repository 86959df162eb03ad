"""LinFusion against its quadratic form."""

import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def bend(network, x):
    first, norm, _, second = network
    hidden = x @ first.weight.T + first.bias
    centred = hidden - hidden.mean(dim=-1, keepdim=True)
    hidden = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    hidden = hidden * norm.weight + norm.bias
    return x + torch.where(hidden > 0, hidden, 0.01 * hidden) @ second.weight.T + second.bias


@torch.no_grad()
def test_linfusion_is_its_quadratic_form():
    for length in (1, 2, 17):
        attention, x = build("linfusion", "ns"), draw(BATCH, length, DIM)
        q = bend(attention.query_network, x) @ attention.query.weight.T
        k = bend(attention.key_network, x) @ attention.key.weight.T
        v, mixed = x @ attention.value.weight.T, torch.zeros_like(x)
        for head in range(HEADS):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            weights = (F.elu(q[..., cut]) + 1) @ (F.elu(k[..., cut]) + 1).mT
            mixed[..., cut] = weights / weights.sum(dim=2, keepdim=True) @ v[..., cut]
        assert relative_difference(attention(x), attention.output(mixed)) <= 1e-12


def test_the_same_tokens_twice_give_the_same_outputs():
    # What normalisation is for: more tokens do not make outputs larger.
    attention, x = build("linfusion", "ns"), draw(2, 17, DIM)
    torch.testing.assert_close(attention(torch.cat((x, x), dim=1))[:, :17], attention(x))


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("linfusion", "ns", dtype)
