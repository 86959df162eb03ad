"""Large-kernel attention against its equations, and its reach."""

import pytest
import torch
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference

PAPER = {"picture_kernel": 21, "picture_dilation": 3}


def equations(mixer, x, grid=None):
    u = F.gelu(mixer.input(x))
    far = filtered(mixer.far, filtered(mixer.short, u, grid), grid)
    return mixer.output(mixer.attention(far) * u) + x


@pytest.mark.parametrize(
    "options", [{}, {"kernel": 7, "dilation": 2}, {"kernel": 3, "dilation": 1}]
)
@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 29])
def test_large_kernels_are_their_equations_on_a_line(pattern, length, options):
    mixer = build("large-kernel", pattern, **options).requires_grad_(False)
    x = draw(BATCH, length, DIM)
    assert relative_difference(mixer(x), equations(mixer, x)) <= 1e-12


def test_large_kernels_are_their_equations_on_a_picture():
    x = draw(1, 35, DIM)
    for options in ({}, PAPER):
        mixer = build_on_grid("large-kernel", (7, 5), **options)
        assert relative_difference(mixer(x), equations(mixer, x, (7, 5))) <= 1e-12


@pytest.mark.parametrize(("options", "reach"), [(PAPER, 11), ({}, 3)])
def test_kernels_reach_all_places_of_a_square_without_gaps(options, reach):
    mixer = build_on_grid("large-kernel", (25, 25), dim=3, heads=1, **options)
    impulse = torch.zeros(1, 625, 3, dtype=torch.float64)
    impulse[:, 12 * 25 + 12] = 1.0
    mixer.short.filters.bias.zero_()
    response = mixer.far(mixer.short(impulse)) - mixer.far(0 * impulse)
    seen = (response[0].abs().amax(dim=1) > 0).view(25, 25)
    reached = torch.zeros(25, 25, dtype=torch.bool)
    around = slice(12 - reach, 13 + reach)
    reached[around, around] = True
    assert seen.equal(reached)


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("large-kernel", pattern, dtype)
