"""Partial convolution against its equation, on lines, on pictures and beside padding."""

import pytest
import torch
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference, right_padding


def equation(mixer, x, grid=None):
    convolved, rest = x[..., : DIM // 4], x[..., DIM // 4 :]
    variance = rest.var(dim=1, correction=1) if x.shape[1] > 1 else torch.zeros_like(rest[:, 0])
    deviation = (variance + 1e-5).sqrt()
    scores = torch.cat((rest.mean(dim=1), deviation), dim=-1) @ mixer.gate.weight.T
    gate = (scores / 6 + 0.5).clamp(0, 1)
    return torch.cat((filtered(mixer.convolution, convolved, grid), rest * gate[:, None]), dim=-1)


@pytest.mark.parametrize("length", [1, 2, 13])
def test_partial_convolution_is_its_equation_on_a_line(length):
    mixer, x = build("partial", "ns").requires_grad_(False), draw(BATCH, length, DIM)
    assert relative_difference(mixer(x), equation(mixer, x)) <= 1e-12


@pytest.mark.parametrize("grid", [(1, 1), (5, 4)])
def test_partial_convolution_is_its_equation_on_a_picture(grid):
    mixer, x = build_on_grid("partial", grid), draw(2, grid[0] * grid[1], DIM)
    assert relative_difference(mixer(x), equation(mixer, x, grid)) <= 1e-12


def test_moments_count_the_row_s_own_tokens():
    mixer, x = build("partial", "ns").requires_grad_(False), draw(2, 13, DIM)
    padding = right_padding([13, 5], 13)
    got = mixer(x.masked_fill(padding[:, :, None], 1e30), key_padding_mask=padding)
    assert relative_difference(got[1, :5], equation(mixer, x[1:, :5])[0]) <= 1e-12


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("partial", "ns", dtype)
