"""Focal modulation against its equations, on lines and on pictures."""

import pytest
import torch
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def equations(mixer, x, grid=None):
    q, z, gates = mixer.input(x).split((DIM, DIM, mixer.config.levels + 1), dim=-1)
    gathered = torch.zeros_like(x)
    for level, convolution in enumerate(mixer.convolutions):
        z = F.gelu(filtered(convolution, z, grid))
        gathered += gates[..., level, None] * z
    for t in range(x.shape[1]):
        seen = z[:, : t + 1] if mixer.pattern.causal else z
        gathered[:, t] += gates[:, t, -1, None] * F.gelu(seen.mean(dim=1))
    return mixer.output(q * mixer.modulator(gathered))


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_focal_is_its_equations_on_a_line(pattern, length, levels):
    mixer = build("focal", pattern, levels=levels).requires_grad_(False)
    x = draw(BATCH, length, DIM)
    assert relative_difference(mixer(x), equations(mixer, x)) <= 1e-12


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (6, 4)])
def test_focal_is_its_equations_on_a_picture(grid):
    mixer, x = build_on_grid("focal", grid), draw(2, grid[0] * grid[1], DIM)
    assert relative_difference(mixer(x), equations(mixer, x, grid)) <= 1e-12


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("focal", pattern, dtype)
