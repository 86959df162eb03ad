"""Gates on feature maps are what their papers' equations give, on rectangular odd maps."""

import torch
from support import VARIANTS, draw

from cab.attention import build_attention
from cab.taxonomy import Pattern

GRID = (3, 5)


def build(name, dim=12, **options):
    torch.manual_seed(0)
    return (
        build_attention(
            VARIANTS.load(name),
            options,
            dim=dim,
            heads=3,
            pattern=Pattern.NS,
            max_length=15,
            grid=GRID,
        )
        .double()
        .eval()
    )


def test_squeeze_and_excitation_scales_each_channel_by_one_number():
    gate, x = build("se"), draw(2, 15, 12)
    scale = gate(x) / x
    assert torch.allclose(scale, scale[:, :1].expand_as(scale))
    hidden = torch.relu(x.mean(1) @ gate.squeeze.weight.T + gate.squeeze.bias)
    expected = torch.sigmoid(hidden @ gate.excite.weight.T + gate.excite.bias)
    torch.testing.assert_close(scale[:, 0], expected)


def test_efficient_channel_attention_looks_at_neighbouring_channels_only():
    gate, x = build("eca", dim=64 * 3), draw(1, 15, 64 * 3)
    width = gate.convolution.weight.shape[-1]
    assert width == 5  # |(log2 192 + 1) / 2| = 4, the next odd number
    moved = x.clone()
    moved[:, :, 100] += 1
    changed = (gate(moved) / moved - gate(x) / x).abs().amax(dim=(0, 1)) > 1e-12
    assert changed.nonzero().flatten().tolist() == [98, 99, 100, 101, 102]


def test_cbam_equals_its_equations_place_by_place():
    gate, x = build("cbam", kernel=3), draw(2, 15, 12)

    def channels(pooled):
        return gate.excite(torch.relu(gate.squeeze(pooled)))

    scaled = x * torch.sigmoid(channels(x.mean(1)) + channels(x.amax(1)))[:, None]
    expected = torch.zeros_like(x)
    weight, bias = gate.places.weight[0], gate.places.bias
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            total = bias.clone().expand(2)
            for i in range(3):
                for j in range(3):
                    r, c = row + i - 1, column + j - 1
                    if 0 <= r < GRID[0] and 0 <= c < GRID[1]:
                        token = scaled[:, r * GRID[1] + c]
                        total = total + weight[0, i, j] * token.mean(1)
                        total = total + weight[1, i, j] * token.amax(1)
            place = row * GRID[1] + column
            expected[:, place] = scaled[:, place] * total.sigmoid()[:, None]
    torch.testing.assert_close(gate(x), expected)


def test_pooling_leaves_padding_out():
    x, mask = draw(2, 15, 12), torch.zeros(2, 15, dtype=torch.bool)
    mask[0, 4:] = True
    for name in ("se", "eca"):
        gate = build(name)
        hollow = x.masked_fill(mask[:, :, None], float("nan"))
        expected = gate(x[:1, :4])[0]
        torch.testing.assert_close(gate(hollow, key_padding_mask=mask)[0, :4], expected)
