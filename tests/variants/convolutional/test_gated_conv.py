"""Gated convolution against its equation."""

import pytest
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def equation(mixer, x, grid=None):
    content = filtered(mixer.convolution, mixer.content(x), grid)
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


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("gated-conv", pattern, dtype)
