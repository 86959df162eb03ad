"""Modules that add to the map what other places or layers hold follow their papers' equations."""

import pytest
import torch
import torch.nn.functional as F
from feature_map_oracles import (
    DIM,
    GRID,
    build_gate,
    convolve,
    draw_map,
    linear,
    mask_some,
    picture_of,
    tokens_of,
)
from support import VARIANTS

NEW = [
    "fca",
    "triplet",
    "polarized",
    "ela",
    "ulsam",
    "pkcam",
    "split",
    "residual",
    "layer",
    "channel-spatial",
    "high-order",
    "context-gate",
    "attention-in-attention",
    "complex-channel",
    "nonlocal",
    "ggem",
    "dual-axis",
]


@pytest.mark.parametrize("masked", [False, True])
def test_layer_attention_mixes_layers_by_their_mean_products(masked):
    module, x = build_gate("layer", layers=2), draw_map()
    mask = mask_some() if masked else torch.zeros(x.shape[:2], dtype=torch.bool)
    x = x.masked_fill(mask[:, :, None], 0.0)
    layers = [x]
    for layer in module.derive:
        made = tokens_of(convolve(layer, picture_of(layers[-1]))).relu()
        layers.append(made.masked_fill(mask[:, :, None], 0.0))
    mixed = torch.empty(2, x.shape[1], 3 * DIM, dtype=torch.float64)
    for row in range(2):
        count = (~mask[row]).sum() * DIM
        for i in range(3):
            products = [(layers[i][row] * other[row]).sum() / count for other in layers]
            weights = torch.stack(products).softmax(dim=0)
            total = sum(w * other[row] for w, other in zip(weights, layers, strict=True))
            mixed[row, :, DIM * i : DIM * (i + 1)] = layers[i][row] + module.share * total
    expected = x + linear(module.join, mixed)
    torch.testing.assert_close(module(x, key_padding_mask=mask if masked else None), expected)


def test_attention_in_attention_weighs_a_gated_branch_against_a_plain_one():
    module, x = build_gate("attention-in-attention", temperature=2.0), draw_map()
    u = F.leaky_relu(linear(module.input, x), 0.2)
    scores = linear(module.weigh, linear(module.squeeze, u.mean(dim=1)).relu()) / 2.0
    gated, plain = scores.softmax(dim=1).T
    picture = picture_of(u)
    gates = convolve(module.gate, F.leaky_relu(convolve(module.before_gate, picture), 0.2))
    attended = convolve(module.after_gate, convolve(module.gated, picture) * gates.sigmoid())
    mixed = gated[:, None, None, None] * attended
    mixed = mixed + plain[:, None, None, None] * convolve(module.plain, picture)
    expected = x + linear(module.output, F.leaky_relu(tokens_of(mixed), 0.2))
    torch.testing.assert_close(module(x), expected)
    assert (gated - plain).abs().min() > 1e-3


@pytest.mark.parametrize("grid", [(5, 7), (4, 8), (1, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_wide_regions_attend_to_the_maxima_of_their_squares(grid, masked):
    module, x = build_gate("nonlocal", grid=grid, height=4, width=6), draw_map(grid, batch=3)
    length = grid[0] * grid[1]
    mask = torch.zeros(3, length, dtype=torch.bool)
    if masked:
        mask[0, ::2], mask[1, : length - 1] = True, True
    x = x.masked_fill(mask[:, :, None], 0.0)
    q, k, v = (linear(part, x) for part in (module.query, module.key, module.value))
    expected = torch.empty_like(x)
    for row in range(3):
        for t in range(length):
            squares = {}
            for s in range(length):
                (y, z), (r, c) = divmod(s, grid[1]), divmod(t, grid[1])
                if (y // 4, z // 6) == (r // 4, c // 6) and not mask[row, s]:
                    squares.setdefault((y // 2, z // 2), []).append(s)
            read = torch.zeros(DIM // 2, dtype=torch.float64)
            if squares:
                keys = torch.stack([k[row, of].max(dim=0).values for of in squares.values()])
                values = torch.stack([v[row, of].max(dim=0).values for of in squares.values()])
                read = (keys @ q[row, t]).softmax(dim=0) @ values
            expected[row, t] = x[row, t] + linear(module.output, read)
    out = module(x, key_padding_mask=mask if masked else None)
    torch.testing.assert_close(out[~mask], expected[~mask])


def test_a_region_that_covers_the_map_starts_as_the_map_itself():
    module, x = build_gate("nonlocal"), draw_map()
    torch.nn.init.zeros_(module.output.weight)
    torch.nn.init.zeros_(module.output.bias)
    assert module(x).equal(x)
    fresh = VARIANTS.load("nonlocal")(dim=DIM, heads=3, pattern="ns", max_length=15, grid=GRID)
    assert not fresh.output.weight.any()


@pytest.mark.parametrize(
    ("grid", "masked"),
    [((3, 5), False), ((3, 5), True), ((4, 6), False), ((4, 6), True), ((1, 1), False)],
)
def test_dual_attention_mixes_along_channels_and_then_along_places(grid, masked):
    module, x = build_gate("dual-axis", grid=grid, dim=18, reduction=2), draw_map(grid, 18)
    mask = mask_some(grid) if masked else torch.zeros(x.shape[:2], dtype=torch.bool)
    out = module(x.masked_fill(mask[:, :, None], float("nan")), key_padding_mask=mask)
    for row in range(2):
        kept = (~mask[row]).nonzero().flatten().tolist()
        one = x[row, kept]
        key = linear(module.channel_key, one).softmax(dim=0)
        query = linear(module.channel_query, one).softmax(dim=1)
        summary = key.T @ linear(module.channel_value, one)
        u = one + linear(module.channel_output, query @ summary)
        squares = {}
        for place, t in enumerate(kept):
            squares.setdefault((t // grid[1] // 2, t % grid[1] // 2), []).append(place)
        means = torch.stack([u[of].mean(dim=0) for of in squares.values()])
        read = []
        for head in range(3):
            part = slice(3 * head, 3 * head + 3)
            q, k, v = (
                linear(layer, source)[:, part]
                for layer, source in (
                    (module.place_query, u),
                    (module.place_key, means),
                    (module.place_value, means),
                )
            )
            read.append((q @ k.T / 3**0.5).softmax(dim=1) @ v)
        expected = u + linear(module.place_output, torch.cat(read, dim=1))
        torch.testing.assert_close(out[row, kept], expected)


@pytest.mark.parametrize("name", NEW)
def test_padding_is_read_by_no_module_and_a_row_of_padding_is_finite(name):
    heads, width = (2, 6) if name in ("split", "dual-axis") else (3, 4)
    module, x = build_gate(name, dim=heads * width, heads=heads), draw_map(dim=heads * width)
    mask = mask_some()
    outs = [
        module(x.masked_fill(mask[:, :, None], fill), key_padding_mask=mask)[~mask]
        for fill in (0.0, float("nan"))
    ]
    assert outs[0].isfinite().all()
    assert outs[0].equal(outs[1])
    mask[0] = True
    hollow = x.masked_fill(mask[:, :, None], float("nan"))
    assert module(hollow, key_padding_mask=mask).isfinite().all()
