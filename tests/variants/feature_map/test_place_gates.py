"""Gates of places and of single elements are what their papers' equations give."""

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

ROWS, COLUMNS = GRID


def softmax_over(scores, mask):
    """Softmax over the unpadded places of (B, N), one row after the other."""
    weights = torch.zeros_like(scores)
    for row in range(scores.shape[0]):
        weights[row, ~mask[row]] = scores[row, ~mask[row]].softmax(dim=0)
    return weights


def normalised(norm, x):
    """A layer norm of the last dimension."""
    spread = ((x - x.mean(dim=-1, keepdim=True)) ** 2).mean(dim=-1, keepdim=True)
    return (x - x.mean(dim=-1, keepdim=True)) / (
        spread + norm.eps
    ).sqrt() * norm.weight + norm.bias


def test_triplet_is_the_mean_of_gates_along_three_axes():
    gate, x = build_gate("triplet", kernel=3), draw_map()
    picture, total = picture_of(x), 0.0
    for axis, layer in zip((1, 2, 3), gate.gates, strict=True):
        plane = torch.stack((picture.max(dim=axis).values, picture.mean(dim=axis)), dim=1)
        scale = convolve(layer, plane)[:, 0].sigmoid()
        total = total + picture * scale.unsqueeze(axis).expand_as(picture)
    torch.testing.assert_close(gate(x), tokens_of(total / 3))


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_polarized_gates_channels_by_places_and_places_by_channels(sequential, masked):
    gate, x = build_gate("polarized", sequential=sequential), draw_map()
    mask = mask_some() if masked else torch.zeros(x.shape[:2], dtype=torch.bool)
    x = x.masked_fill(mask[:, :, None], 0.0)

    def channels(u):
        attended = softmax_over(u @ gate.place_query.weight[0], mask)
        summary = torch.einsum("bt,btc->bc", attended, linear(gate.channel_value, u))
        return normalised(gate.norm, linear(gate.channel_gate, summary)).sigmoid()[:, None]

    def places(u):
        mean = u.sum(dim=1) / (~mask).sum(dim=1, keepdim=True)
        chosen = linear(gate.channel_query, mean).softmax(dim=1)
        return torch.einsum("bc,btc->bt", chosen, linear(gate.place_value, u)).sigmoid()[
            :, :, None
        ]

    if sequential:
        u = channels(x) * x
        expected = places(u) * u
    else:
        expected = channels(x) * x + places(x) * x
    torch.testing.assert_close(gate(x, key_padding_mask=mask if masked else None), expected)


def test_ela_gates_rows_and_columns_by_their_convolved_and_normalised_means():
    gate, x = build_gate("ela", kernel=3), draw_map()
    picture = picture_of(x)

    def scale(strip):
        line = torch.stack(
            [convolve_line(gate.convolution.weight[c, 0], strip[:, c]) for c in range(DIM)],
            dim=1,
        )
        result = torch.empty_like(line)
        for first in range(0, DIM, DIM // 3):
            part = line[:, first : first + DIM // 3]
            mean = part.mean(dim=(1, 2), keepdim=True)
            spread = ((part - mean) ** 2).mean(dim=(1, 2), keepdim=True)
            result[:, first : first + DIM // 3] = (part - mean) / (spread + gate.norm.eps).sqrt()
        weight, bias = (p[None, :, None] for p in (gate.norm.weight, gate.norm.bias))
        return (result * weight + bias).sigmoid()

    rows, columns = scale(picture.mean(dim=3)), scale(picture.mean(dim=2))
    expected = picture * rows[:, :, :, None] * columns[:, :, None, :]
    torch.testing.assert_close(gate(x), tokens_of(expected))


@pytest.mark.parametrize("masked", [False, True])
def test_ulsam_attends_to_places_in_each_subspace(masked):
    gate, x = build_gate("ulsam", subspaces=4), draw_map()
    mask = mask_some() if masked else torch.zeros(x.shape[:2], dtype=torch.bool)
    x = x.masked_fill(mask[:, :, None], 0.0)
    scale, offset = gate.depthwise.weight.flatten(), gate.depthwise.bias
    features = (x * scale + offset).relu()
    expected = torch.empty_like(x)
    for group in range(4):
        part = slice(3 * group, 3 * group + 3)
        scores = torch.zeros(x.shape[:2], dtype=torch.float64)
        for row in range(2):
            for t in range(ROWS * COLUMNS):
                near = [
                    s
                    for s in range(ROWS * COLUMNS)
                    if abs(s // COLUMNS - t // COLUMNS) <= 1
                    and abs(s % COLUMNS - t % COLUMNS) <= 1
                    and not mask[row, s]
                ]
                if near:
                    highest = features[row, near, part].max(dim=0).values
                    scores[row, t] = highest @ gate.score.weight[group].flatten()
        weights = softmax_over(scores, mask)
        expected[:, :, part] = x[:, :, part] * (1 + weights)[:, :, None]
    out = gate(x, key_padding_mask=mask if masked else None)
    torch.testing.assert_close(out, expected)


def test_context_gate_follows_its_three_parts():
    gate, x, mask = build_gate("context-gate"), draw_map(), mask_some()
    x = x.masked_fill(mask[:, :, None], 0.0)
    weights = softmax_over(x @ gate.score.weight[0], mask)
    context = torch.einsum("bt,btc->bc", weights, x)
    guided = x + linear(gate.excite, linear(gate.squeeze, context).relu())[:, None]
    features = linear(gate.local, x).relu() + linear(gate.guide, guided).relu() + gate.offset
    expected = x * linear(gate.gate, normalised(gate.norm, features.relu())).sigmoid()
    torch.testing.assert_close(gate(x, key_padding_mask=mask), expected)


def test_channel_spatial_gates_each_element_by_its_27_neighbours():
    gate, x = build_gate("channel-spatial"), draw_map()
    picture, weight = picture_of(x), gate.convolution.weight[0, 0]
    expected = torch.empty_like(picture)
    for d in range(DIM):
        for r in range(ROWS):
            for c in range(COLUMNS):
                total = gate.convolution.bias.clone().expand(2)
                for i in range(3):
                    for j in range(3):
                        for k in range(3):
                            e, y, z = d + i - 1, r + j - 1, c + k - 1
                            if 0 <= e < DIM and 0 <= y < ROWS and 0 <= z < COLUMNS:
                                total = total + weight[i, j, k] * picture[:, e, y, z]
                element = picture[:, d, r, c]
                expected[:, d, r, c] = element + gate.share * element * total.sigmoid()
    torch.testing.assert_close(gate(x), tokens_of(expected))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("order", [1, 3])
def test_high_order_gates_by_products_of_features(kernel, order):
    gate, x = build_gate("high-order", kernel=kernel, order=order), draw_map()
    u = x if kernel == 1 else tokens_of(convolve(gate.neighbours, picture_of(x)))
    total = 0.0
    for r in range(1, order + 1):
        matrices = gate.features[r - 1].weight.unflatten(0, (r, DIM // 4))
        product = torch.ones(2, ROWS * COLUMNS, DIM // 4, dtype=torch.float64)
        for matrix in matrices:
            product = product * (u @ matrix.T)
        total = total + linear(gate.gates[r - 1], product.relu()).sigmoid()
    torch.testing.assert_close(gate(x), x * total / order)


@pytest.mark.parametrize("grid", [(5, 7), (1, 4), (6, 3)])
def test_residual_masks_come_from_half_the_resolution(grid):
    gate, x = build_gate("residual", grid=grid, units=2), draw_map(grid)
    picture, (rows, columns) = picture_of(x, grid), grid
    low = picture.new_empty(2, DIM, (rows + 1) // 2, (columns + 1) // 2)
    for r in range(low.shape[2]):
        for c in range(low.shape[3]):
            ys, zs = (slice(max(0, 2 * p - 1), 2 * p + 2) for p in (r, c))
            low[:, :, r, c] = picture[:, :, ys, zs].amax(dim=(2, 3))
    for unit in gate.units:
        inner = convolve(unit.first, low.relu()).relu()
        low = low + convolve(unit.third, convolve(unit.second, inner).relu())
    wide = torch.empty_like(picture)
    for r in range(rows):
        for c in range(columns):
            y = max(0.0, (r + 0.5) * low.shape[2] / rows - 0.5)
            z = max(0.0, (c + 0.5) * low.shape[3] / columns - 0.5)
            top, left = int(y), int(z)
            down, right = min(top + 1, low.shape[2] - 1), min(left + 1, low.shape[3] - 1)
            above = low[:, :, top, left] * (1 - z + left) + low[:, :, top, right] * (z - left)
            below = low[:, :, down, left] * (1 - z + left) + low[:, :, down, right] * (z - left)
            wide[:, :, r, c] = above * (1 - y + top) + below * (y - top)
    mask = convolve(gate.second, convolve(gate.first, wide.relu()).relu()).sigmoid()
    torch.testing.assert_close(gate(x), tokens_of(picture * (1 + mask)))
