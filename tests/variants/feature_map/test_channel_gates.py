"""Gates of channels are what their papers' equations give."""

import math

import pytest
import torch
from feature_map_oracles import (
    DIM,
    GRID,
    build_gate,
    convolve,
    convolve_line,
    draw_map,
    linear,
    mask_some,
    picture_of,
    tokens_of,
)
from support import VARIANTS

from cab.attention import build_attention
from cab.errors import UnsupportedWidth

ROWS, COLUMNS = GRID


def excited(gate, described):
    return torch.sigmoid(linear(gate.excite, torch.relu(linear(gate.squeeze, described))))


@pytest.mark.parametrize("grid", [(3, 5), (7, 14), (1, 2)])
def test_fca_sums_the_map_times_the_cosines_of_each_group_of_channels(grid):
    gate, x = build_gate("fca", grid=grid, frequencies=4), draw_map(grid)
    best = [(0, 0), (0, 1), (6, 0), (0, 5)]  # of the paper's figure, on 7 x 7 places
    described = x.new_zeros(2, DIM)
    for channel in range(DIM):
        u, v = best[channel // 3]
        u, v = int(u * grid[0] / 7), int(v * grid[1] / 7)
        for t in range(x.shape[1]):
            i, j = t // grid[1], t % grid[1]
            wave = math.cos(math.pi * u * (i + 0.5) / grid[0])
            wave *= math.cos(math.pi * v * (j + 0.5) / grid[1])
            wave *= math.sqrt((2 if u else 1) / grid[0] * (2 if v else 1) / grid[1])
            described[:, channel] += x[:, t, channel] * wave
    torch.testing.assert_close(gate(x), x * excited(gate, described)[:, None])


def test_fca_with_the_lowest_frequency_is_squeeze_and_excitation_of_a_multiple():
    gate, x = build_gate("fca", frequencies=1), draw_map()
    expected = x * excited(gate, x.mean(dim=1) * math.sqrt(ROWS * COLUMNS))[:, None]
    torch.testing.assert_close(gate(x), expected)


def test_pkcam_gates_by_own_means_and_by_those_of_all_layers():
    gate, x, mask = build_gate("pkcam", layers=2), draw_map(), mask_some()
    x = x.masked_fill(mask[:, :, None], 0.0)
    present = (~mask).sum(dim=1, keepdim=True)
    layers, picture = [x.sum(dim=1) / present], picture_of(x)
    hidden = picture_of(mask[:, :, None].expand_as(x).double()).bool()
    for layer in gate.derive:
        picture = convolve(layer, picture).relu().masked_fill(hidden, 0.0)
        layers.append(tokens_of(picture).sum(dim=1) / present)
    width = gate.own.weight.shape[-1]
    assert width == 3  # |(log2 12 + 1) / 2| = 2, the next odd number
    combined = sum(a * v for a, v in zip(gate.combine.weight[0], layers, strict=True)).relu()
    own = convolve_line(gate.own.weight.flatten(), layers[0]).sigmoid()
    across = convolve_line(gate.across.weight.flatten(), combined).sigmoid()
    first, second = gate.fuse.weight[0]
    expected = x * (1 + torch.sigmoid(first * own + second * across))[:, None]
    torch.testing.assert_close(gate(x, key_padding_mask=mask), expected)


@pytest.mark.parametrize("masked", [False, True])
def test_ggem_pools_each_group_with_its_own_power(masked):
    gate, x = build_gate("ggem"), draw_map()
    mask = mask_some() if masked else torch.zeros(x.shape[:2], dtype=torch.bool)
    assert len(set(gate.power.tolist())) == 3
    described = x.new_zeros(2, DIM)
    for row in range(2):
        for channel in range(DIM):
            p = gate.power[channel // 4]
            values = x[row, ~mask[row], channel].clamp(min=1e-6)
            described[row, channel] = (values**p).mean() ** (1 / p)
    out = gate(x, key_padding_mask=mask if masked else None)
    expected = x.masked_fill(mask[:, :, None], 0.0) * excited(gate, described)[:, None]
    torch.testing.assert_close(out, expected)


def test_a_power_of_one_is_the_mean_and_a_large_one_nears_the_maximum():
    gate, x = build_gate("ggem"), draw_map().abs() + 0.1
    for power, expected, error in ((1.0, x.mean(dim=1), 1e-12), (3000.0, x.amax(dim=1), 1e-2)):
        with torch.no_grad():
            gate.power.fill_(power)
        assert (gate._pool(x, None) - expected).abs().max() <= error


def test_split_attention_weighs_the_splits_of_each_group():
    gate, x, mask = build_gate("split", heads=2, dim=12), draw_map(), mask_some()
    x = x.masked_fill(mask[:, :, None], 0.0)
    assert gate.convolution.groups == 4  # 2 cardinal groups x radix 2
    maps = tokens_of(convolve(gate.convolution, picture_of(x)).relu())
    maps = maps.masked_fill(mask[:, :, None], 0.0)
    splits = [maps[:, :, :12], maps[:, :, 12:]]
    mean = (splits[0] + splits[1]).sum(dim=1) / (~mask).sum(dim=1, keepdim=True)
    expected = torch.zeros_like(x)
    for group in range(2):
        part = slice(6 * group, 6 * group + 6)
        hidden = gate.squeeze.weight.shape[0] // 2
        rows = slice(hidden * group, hidden * (group + 1))
        inner = mean[:, part] @ gate.squeeze.weight[rows, :, 0].T + gate.squeeze.bias[rows]
        out = slice(12 * group, 12 * group + 12)
        scores = inner.relu() @ gate.excite.weight[out, :, 0].T + gate.excite.bias[out]
        chance = torch.stack((scores[:, :6], scores[:, 6:])).softmax(dim=0)
        for r in range(2):
            expected[:, :, part] += chance[r][:, None] * splits[r][:, :, part]
    out = gate(x, key_padding_mask=mask)
    torch.testing.assert_close(out[~mask], expected[~mask])


def test_complex_channels_of_a_row_attend_to_each_other():
    gate, x = build_gate("complex-channel"), draw_map()
    half = DIM // 2
    z = torch.complex(x[:, :, :half], x[:, :, half:]).unflatten(1, GRID)  # (B, R, C, D / 2)
    q, k, v = (part.weight.to(z.dtype) for part in (gate.query, gate.key, gate.value))
    joined = torch.empty(2, ROWS, COLUMNS, 2 * DIM, dtype=torch.float64)
    for row in range(2):
        for i in range(ROWS):
            products = (k @ z[row, i]).T @ (q @ z[row, i])
            weights = torch.complex(products.real.softmax(dim=0), products.imag.softmax(dim=0))
            assert torch.allclose(weights.sum(dim=0), torch.tensor(1 + 1j, dtype=z.dtype))
            mixed = v @ z[row, i] @ weights
            own = x[row].unflatten(0, GRID)[i]
            joined[row, i] = torch.cat((own, mixed.real, mixed.imag), dim=1)
    expected = x + linear(gate.join, joined).flatten(1, 2)
    torch.testing.assert_close(gate(x), expected)


@pytest.mark.parametrize(
    ("name", "dim", "heads"), [("complex-channel", 15, 3), ("split", 15, 3), ("ulsam", 15, 3)]
)
def test_widths_that_a_mechanism_cannot_part_are_refused(name, dim, heads):
    sizes = {"dim": dim, "heads": heads, "pattern": "ns", "max_length": 15, "grid": GRID}
    with pytest.raises(UnsupportedWidth):
        build_attention(VARIANTS.load(name), {}, **sizes)
