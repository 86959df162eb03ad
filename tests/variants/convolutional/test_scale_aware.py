"""Scale-aware modulation against its equation, group by group."""

import pytest
import torch
import torch.nn.functional as F
from convolution_oracles import build_on_grid, filtered
from support import DIM, HEAD_WIDTH, HEADS, draw, relative_difference


def equation(mixer, x, grid):
    s, ratio = mixer.scales(x), mixer.config.expansion
    scales = [
        filtered(mixer.convolutions[h], s[..., h * HEAD_WIDTH : (h + 1) * HEAD_WIDTH], grid)
        for h in range(HEADS)
    ]
    groups = []
    for e in range(HEAD_WIDTH):
        cut = slice(e * HEADS * ratio, (e + 1) * HEADS * ratio)
        group = torch.stack([scale[..., e] for scale in scales], dim=-1)
        groups.append(group @ mixer.mix.weight[cut, :, 0].T + mixer.mix.bias[cut])
    mixed = torch.cat(groups, dim=-1)
    variance, mean = torch.var_mean(mixed, dim=-1, keepdim=True, correction=0)
    normed = (mixed - mean) / (variance + 1e-5).sqrt()
    return mixer.output(mixer.modulator(F.gelu(normed)) * mixer.value(x))


@pytest.mark.parametrize("expansion", [1, 2])
@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (5, 4)])
def test_scale_aware_modulation_is_its_equation(grid, expansion):
    mixer = build_on_grid("scale-aware", grid, expansion=expansion)
    x = draw(2, grid[0] * grid[1], DIM)
    assert relative_difference(mixer(x), equation(mixer, x, grid)) <= 1e-12


def test_head_h_looks_h_tokens_away():
    mixer = build_on_grid("scale-aware", (9, 9))
    taps = [convolution.filters.weight.shape[-1] for convolution in mixer.convolutions]
    assert taps == [2 * h + 1 for h in range(1, HEADS + 1)]
