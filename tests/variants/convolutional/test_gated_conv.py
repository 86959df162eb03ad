"""Gated convolution against its equation."""

import pytest
import torch
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference

CONVOLVED = DIM  # conv_ratio is 1; the other channels of 4/3 DIM pass as they are


def equation(mixer, x, grid=None):
    content, convolved = mixer.content(x), min(CONVOLVED, mixer.content.out_features)
    near = filtered(mixer.convolution, content[..., -convolved:], grid)
    content = torch.cat((content[..., :-convolved], near), dim=-1)
    return mixer.output(F.gelu(mixer.gate(x)) * content)


@pytest.mark.parametrize("options", [{}, {"reach": 1, "expansion": 0.5}])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_gated_convolution_is_its_equation_on_a_line(pattern, length, options):
    mixer = build("gated-conv", pattern, **options).requires_grad_(False)
    x = draw(BATCH, length, DIM)
    assert relative_difference(mixer(x), equation(mixer, x)) <= 1e-12


@pytest.mark.parametrize("grid", [(1, 1), (2, 9), (6, 4)])
def test_gated_convolution_is_its_equation_on_a_picture(grid):
    mixer, x = build_on_grid("gated-conv", grid), draw(2, grid[0] * grid[1], DIM)
    assert relative_difference(mixer(x), equation(mixer, x, grid)) <= 1e-12


@pytest.mark.parametrize(("ratio", "convolved"), [(1.0, 15), (4 / 3, 20), (0.5, 8), (9.0, 20)])
def test_the_ratio_says_how_many_channels_are_convolved(ratio, convolved):
    mixer = build("gated-conv", "cs", conv_ratio=ratio)
    assert mixer.initial_state(1).shape == (1, 3, convolved)


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("gated-conv", pattern, dtype)
