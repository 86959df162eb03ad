"""CARE against its equations, with weights over all pairs and convolutions tap by tap."""

import pytest
import torch
import torch.nn.functional as F
from support import DIM, HEADS, VARIANTS, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern


def build_care(grid, dim=DIM, **options):
    sizes = {"dim": dim, "heads": HEADS, "max_length": grid[0] * grid[1], "grid": grid}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_attention(VARIANTS.load("care"), options, pattern=Pattern.NS, **sizes)
    return module.double().eval()


def convolved(convolution, x, columns, kept):
    out, reach = torch.zeros_like(x) + convolution.bias, convolution.weight.shape[-1] // 2
    for t in range(len(x)):
        for s in range(len(x)):
            down, right = s // columns - t // columns, s % columns - t % columns
            if kept[s] and max(abs(down), abs(right)) <= reach:
                out[t] += convolution.weight[:, 0, down + reach, right + reach] * x[s]
    return out


def interact(module, x, columns, kept):
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
    normed = (x - mean) / (variance + 1e-5).sqrt() * module.norm.weight + module.norm.bias
    inner = F.gelu(module.widen(normed))
    return module.output(convolved(module.local, inner, columns, kept))


def written_out(mixer, x, kept):
    part, columns = mixer.parts[1], mixer.grid[1]
    memory, a, b, c = x.split(mixer.parts, dim=1)
    scores, width, mixed = mixer.scores(a), part // HEADS, torch.zeros_like(a)
    for head in range(HEADS):
        cut = slice(head * width, (head + 1) * width)
        q, k = (F.elu(one[:, cut]) + 1 for one in (scores[:, :part], scores[:, part:]))
        weights = (q @ k.T) * kept
        total = weights.sum(dim=1, keepdim=True) / kept.sum() + 1e-6
        mixed[:, cut] = weights @ a[:, cut] / kept.sum() / total
    local = convolved(mixer.near, b, columns, kept), convolved(mixer.far, c, columns, kept)
    features = torch.cat((mixed, *local), dim=1)
    features = features + interact(mixer.first, features, columns, kept)
    joined = torch.cat((memory, features), dim=1)
    return joined + interact(mixer.second, joined, columns, kept)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (5, 4)])
@pytest.mark.parametrize(("dim", "options"), [(DIM, {}), (27, {"inner": 2, "outer": 3})])
def test_care_is_its_equations(grid, dim, options):
    mixer, length = build_care(grid, dim, **options), grid[0] * grid[1]
    x, padding = draw(2, length, dim), draw(2, length, seed="holes") > 0.5
    padding[:, 0] = False
    for mask in (None, padding):
        got = mixer(x, key_padding_mask=mask)
        for row in range(2):
            kept = torch.ones(length, dtype=torch.bool) if mask is None else ~mask[row]
            here = x[row].masked_fill(~kept[:, None], 0.0)
            expected = written_out(mixer, here, kept)
            assert relative_difference(got[row, kept], expected[kept]) <= 1e-11


def test_heads_of_three_channels_are_refused():
    with pytest.raises(ValueError, match="less than 4 channels"):
        build_care((2, 2), dim=9)
