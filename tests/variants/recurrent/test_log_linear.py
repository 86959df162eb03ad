"""Log-linear attention against its levels written out, and at equal weights against mamba2."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEADS, build, draw, relative_difference


def drawn(name, **options):
    attention = build(name, "cs", **options).requires_grad_(False)
    for number, parameter in enumerate(attention.parameters()):
        parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def levels_of(t):
    """The tokens of each level of t, by Fenwick's rule: take off the lowest bit until 0."""
    levels, end = {0: [t]}, t
    while end:
        size = end & -end
        levels[size.bit_length()] = list(range(end - size, end))
        end -= size
    return levels


def written_out(attention, x):
    recent = attention.nothing_recent(len(x))
    (c, b, u, step, _, _), _ = attention.read(x, recent)
    levels = attention.config.levels
    raw = (x @ attention.level.weight.T * attention.level_scale).unflatten(-1, (HEADS, levels))
    weights = torch.log1p(torch.exp(raw))
    log_decay = -torch.exp(attention.log_rate)[:, None] * step
    out = torch.zeros_like(u)
    for t in range(x.shape[1]):
        out[:, :, t] = attention.skip[:, None] * u[:, :, t]
        for level, tokens in levels_of(t).items():
            for s in tokens:
                score = (c[:, 0, t] * b[:, 0, s]).sum(dim=-1)[:, None]
                score = score * log_decay[:, :, s + 1 : t + 1].sum(dim=-1).exp() * step[:, :, s]
                score = score * weights[:, t, :, min(level, levels - 1)]
                out[:, :, t] += score[..., None] * u[:, :, s]
    gated = out.transpose(1, 2).flatten(-2) * F.silu(x @ attention.gate.weight.T)
    normed = gated / (gated.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return (normed * attention.norm.weight) @ attention.output.weight.T


@pytest.mark.parametrize(("length", "chunk"), [(1, 32), (2, 1), (13, 2), (45, 4), (70, 32)])
def test_it_is_its_levels(length, chunk):
    attention, x = drawn("log-linear", chunk=chunk, levels=5), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), written_out(attention, x)) <= 1e-10


def test_decoding_joins_levels_as_the_tree_does():
    attention, x = drawn("log-linear", levels=4), draw(BATCH, 21, DIM)
    state = attention.initial_state(BATCH)
    for t in range(21):
        out, state = attention.step(x[:, t], state)
        assert state.memory.shape[2] == t.bit_length() + 1
        filled = [
            level for level in range(state.memory.shape[2]) if state.memory[:, :, level].any()
        ]
        assert filled == sorted(levels_of(t))
    assert relative_difference(out, written_out(attention, x)[:, -1]) <= 1e-10


def test_with_equal_weights_it_is_mamba2():
    attention, plain = drawn("log-linear", state_width=32), drawn("mamba2")
    attention.load_state_dict(plain.state_dict(), strict=False)
    attention.level_scale.zero_()  # all weights are log 2
    x = draw(BATCH, 70, DIM)
    tokens, _ = attention.read(x, attention.nothing_recent(BATCH))
    c, b, u, step, weights, log_decay = tokens
    assert relative_difference(weights, torch.full_like(weights, 2).log()) <= 1e-12
    skipped = attention.skip[:, None, None] * u
    got = (attention.mix(*tokens) - skipped) / torch.tensor(2.0).double().log()
    expected = plain.mix(c, b, u, step, log_decay) - skipped
    assert relative_difference(got, expected) <= 1e-12


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("log-linear", "cs", dtype)
