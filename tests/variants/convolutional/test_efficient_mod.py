"""Efficient modulation against its equation."""

import pytest
import torch
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference


def equation(mixer, x, grid=None):
    modulator = mixer.modulator(F.gelu(filtered(mixer.convolution, mixer.content(x), grid)))
    features = mixer.features(x)
    if mixer.config.expansion > 1:
        features = F.gelu(features)
    repeated = torch.cat([modulator] * mixer.config.expansion, dim=-1)
    return mixer.output(features * repeated)


@pytest.mark.parametrize("options", [{}, {"reach": 1, "expansion": 3}])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_efficient_modulation_is_its_equation_on_a_line(pattern, length, options):
    mixer = build("efficient-mod", pattern, **options).requires_grad_(False)
    x = draw(BATCH, length, DIM)
    assert relative_difference(mixer(x), equation(mixer, x)) <= 1e-12


@pytest.mark.parametrize("grid", [(1, 1), (5, 4)])
def test_efficient_modulation_is_its_equation_on_a_picture(grid):
    mixer, x = build_on_grid("efficient-mod", grid), draw(2, grid[0] * grid[1], DIM)
    assert relative_difference(mixer(x), equation(mixer, x, grid)) <= 1e-12


def test_an_expanded_block_decodes_too():
    mixer, x = build("efficient-mod", "cs", expansion=3), draw(BATCH, 9, DIM)
    state, outputs = mixer.initial_state(BATCH), []
    for t in range(9):
        y, state = mixer.step(x[:, t], state)
        outputs.append(y)
    assert relative_difference(torch.stack(outputs, dim=1), mixer(x)) <= 1e-12


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("efficient-mod", pattern, dtype)
