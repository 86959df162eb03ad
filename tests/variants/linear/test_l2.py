"""L2ViT's attention against its weights over all pairs and its convolutions, tap by tap."""

import pytest
import torch
import torch.nn.functional as F
from support import BATCH, DIM, HEAD_WIDTH, HEADS, VARIANTS, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern


def build_l2(grid, **options):
    sizes = {"dim": DIM, "heads": HEADS, "max_length": grid[0] * grid[1], "grid": grid}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_attention(VARIANTS.load("l2"), options, pattern=Pattern.NS, **sizes)
    return module.double().eval()


def convolved(convolution, x, columns):
    out, reach = torch.zeros_like(x) + convolution.bias, convolution.weight.shape[-1] // 2
    for t in range(len(x)):
        for s in range(len(x)):
            down, right = s // columns - t // columns, s % columns - t % columns
            if max(abs(down), abs(right)) <= reach:
                out[t] += convolution.weight[:, 0, down + reach, right + reach] * x[s]
    return out


def normed(x, layer):
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * layer.weight + layer.bias


def written_out(attention, x):
    mixed = torch.zeros_like(x)
    q, k, v = (part(x) for part in (attention.query, attention.key, attention.value))
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scores = q[:, cut].clamp(min=0) @ k[:, cut].clamp(min=0).T
        total = scores.sum(dim=1, keepdim=True)
        total = torch.where(total < attention.config.floor, attention.config.floor, total)
        mixed[:, cut] = attention.temperature[head, 0, 0] * (scores / total) @ v[:, cut]
    u, columns = attention.output(mixed), attention.grid[1]
    near = convolved(attention.first, normed(x + u, attention.norm), columns)
    return u + convolved(attention.second, normed(F.gelu(near), attention.between), columns)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (5, 4)])
@pytest.mark.parametrize("options", [{}, {"floor": 1.0, "kernel": 3}])
def test_it_is_its_equation(grid, options):
    attention, x = build_l2(grid, **options), draw(BATCH, grid[0] * grid[1], DIM)
    expected = torch.stack([written_out(attention, row) for row in x])
    assert relative_difference(attention(x), expected) <= 1e-12


@torch.no_grad()
def test_weights_sum_to_the_temperature_above_the_floor():
    attention, ones = build_l2((5, 4), floor=1e-6), torch.ones(2, HEADS, 20, HEAD_WIDTH).double()
    q = draw(2, HEADS, 20, HEAD_WIDTH).abs()
    expected = (attention.temperature * ones).expand_as(ones)
    torch.testing.assert_close(attention.attend(q, q, ones), expected)
