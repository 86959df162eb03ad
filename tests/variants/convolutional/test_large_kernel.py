"""Large-kernel attention against its equations, and its reach."""

import pytest
import torch
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


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
    mixer, x = build_on_grid("large-kernel", (7, 5)), draw(1, 35, DIM)
    assert relative_difference(mixer(x), equations(mixer, x, (7, 5))) <= 1e-12


def test_the_paper_s_kernel_reaches_eleven_rows_and_columns_without_gaps():
    mixer = build_on_grid("large-kernel", (25, 25), dim=3, heads=1)
    impulse = torch.zeros(1, 625, 3, dtype=torch.float64)
    impulse[:, 12 * 25 + 12] = 1.0
    mixer.short.filters.bias.zero_()
    response = mixer.far(mixer.short(impulse)) - mixer.far(0 * impulse)
    seen = (response[0].abs().amax(dim=1) > 0).view(25, 25)
    reached = torch.zeros(25, 25, dtype=torch.bool)
    reached[1:24, 1:24] = True
    assert seen.equal(reached)


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("large-kernel", pattern, dtype)
