"""Mamba-3 in chunks is its recurrence with complex numbers, token by token."""

import math

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference

from cab.errors import CabError
from cab.kernels.linear.time_constants import spread


def disturbed(**options):
    """A module whose parameters all differ."""
    attention = build("mamba3", "cs", **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def normed(x, weight):
    return x / (x.square().mean() + 1e-5).sqrt() * weight


def turned(x, angles):
    """Multiply the first pairs of channels, read as complex numbers, by exp(i angle)."""
    pairs = torch.view_as_complex(x[: 2 * len(angles)].reshape(-1, 2))
    pairs = pairs * torch.exp(1j * angles)
    return torch.cat((torch.view_as_real(pairs).flatten(), x[2 * len(angles) :]))


def by_recurrence(attention, x):
    """One row (N, D): the paper's recurrence, one head and one rank at a time."""
    config, heads = attention.config, attention.heads
    inner, state, rank = config.expand * x.shape[1], config.state_width, config.rank
    width, turns = inner // heads, int(state * config.rotary // 2)
    projected = (x @ attention.input.weight.T).split(
        (inner, rank * state, rank * state, turns, heads, heads), dim=-1
    )
    u, b, c, angle, rate, mixing = projected
    step = F.softplus(x @ attention.step_size.weight.T + attention.step_size.bias)
    decay = torch.where(rate > 0, 1 + rate, 1 / (1 - rate)).clamp(min=1e-4)
    gate, mixing = x @ attention.gate.weight.T, mixing.sigmoid()
    out = torch.zeros(len(x), inner).double()
    for head in range(heads):
        cut = slice(head * width, (head + 1) * width)
        memory, place = torch.zeros(state, width).double(), torch.zeros(turns).double()
        written = memory
        for t in range(len(x)):
            size = step[t, head]
            place = place + math.pi * size * angle[t].tanh()
            kept = torch.exp(-decay[t, head] * size)
            memory = kept * (memory + (1 - mixing[t, head]) * size * written)
            written = torch.zeros_like(memory)
            values = []
            for r in range(rank):
                own = slice(r * state, (r + 1) * state)
                key = normed(b[t, own], attention.key_norm.weight) + attention.key_bias[head, r]
                value = u[t, cut] * (attention.inputs[head, r] if rank > 1 else 1)
                written = written + turned(key, place)[:, None] * value
                values.append(value)
            memory = memory + mixing[t, head] * size * written
            for r, value in enumerate(values):
                own = slice(r * state, (r + 1) * state)
                query = normed(c[t, own], attention.query_norm.weight)
                query = turned(query + attention.query_bias[head, r], place)
                answer = query @ memory + attention.skip[head] * value
                answer = answer * F.silu(
                    gate[t, cut] * (attention.gates[head, r] if rank > 1 else 1)
                )
                out[t, cut] += answer * (attention.outputs[head, r] if rank > 1 else 1)
    return out @ attention.output.weight.T


OPTIONS = [
    {},
    {"chunk": 5, "state_width": 7, "rotary": 1.0},
    {"rank": 3, "state_width": 6, "head_width": 5, "chunk": 4},
    {"expand": 2, "head_width": 3, "rotary": 0.0},
]


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 19])
@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_its_recurrence(options, length):
    attention, x = disturbed(**options), draw(2, length, DIM)
    expected = torch.stack([by_recurrence(attention, row) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-11


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS)
def test_a_prompt_is_read_in_parts(options):
    attention, x = disturbed(**options), draw(BATCH, 29, DIM)
    state, parts = attention.initial_state(BATCH), []
    for part in x.split((1, 0, 17, 3, 8), dim=1):
        out, state = attention.prefill(part, state)
        parts.append(out)
    assert relative_difference(torch.cat(parts, dim=1), attention(x)) <= 1e-12
    assert (state.angle.abs() <= 2 * math.pi).all()


@torch.no_grad()
def test_padding_neither_writes_nor_fades_nor_turns():
    attention, x = disturbed(chunk=4), draw(BATCH, 11, DIM)
    padding = torch.zeros(BATCH, 11, dtype=torch.bool)
    padding[:, 3:6] = True
    got = attention(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    state = attention.initial_state(BATCH)
    first, state = attention.prefill(x[:, :3], state)
    state = state._replace(value=torch.zeros_like(state.value))  # what stood before the gap
    second, _ = attention.prefill(x[:, 6:], state)
    assert relative_difference(got[:, :3], first) <= 1e-12
    assert relative_difference(got[:, 6:], second) <= 1e-12


@torch.no_grad()
def test_turns_by_pi_hold_the_parity_of_a_string():
    """Decays alone cannot: the sign of the state is the parity of the ones since the beginning."""
    attention = build("mamba3", "cs", dim=3, heads=1, state_width=2, rotary=1.0)
    for parameter in attention.parameters():
        parameter.zero_()
    bits = draw(1, 100, seed="bits") > 0
    bits[:, 0] = False
    beginning = torch.zeros_like(bits)
    beginning[:, 0] = True
    x = torch.stack((bits, beginning, torch.ones_like(bits)), dim=-1).double()
    weights = dict(zip("ubctam", attention.input.weight.split(attention.parts), strict=True))
    weights["u"][0, 1] = 1.0  # the beginning alone is written
    weights["t"][0, 0] = 20.0  # a one turns by pi
    weights["a"][0, 2] = -1e6  # next to no decay
    weights["m"][0, 2] = 20.0  # the own token alone
    attention.step_size.bias.fill_(math.log(math.e - 1))  # steps of 1
    attention.key_bias[..., 0] = attention.query_bias[..., 0] = 1.0
    attention.gate.weight[0, 2] = 1.0
    attention.output.weight[0, 0] = 1.0
    odd = bits.long().cumsum(dim=1) % 2 == 1
    assert torch.equal(attention(x)[..., 0] < 0, odd)
    assert odd.any()


def test_steps_start_by_the_length_of_training():
    attention = build("mamba3", "cs", dim=32, heads=2, max_length=128)
    tau = 1 / F.softplus(attention.step_size.bias)
    assert attention.heads == 4
    assert relative_difference(tau, spread(4, 128)) <= 1e-5


def test_heads_are_its_own_and_as_many_as_the_layers_where_they_cannot_be():
    assert build("mamba3", "cs", dim=64, heads=1).heads == 8
    assert build("mamba3", "cs", dim=64, heads=1, head_width=32).heads == 2
    assert build("mamba3", "cs", dim=15, heads=3).heads == 3


@pytest.mark.parametrize("options", [{"rank": 0}, {"rotary": -0.1}, {"rotary": 1.5}, {"chunk": 0}])
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(CabError, match="must be"):
        build("mamba3", "cs", **options)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("mamba3", "cs", dtype)
