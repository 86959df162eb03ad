"""Multi-head scan against its recurrence, and the routes against walks on the picture."""

import pytest
import torch
import torch.nn.functional as F
from support import DIM, HEAD_WIDTH, HEADS, VARIANTS, draw, relative_difference

from cab.attention import build_attention
from cab.kernels.linear.scan_routes import diagonals, raster, snake, spirals
from cab.taxonomy import Pattern

GRIDS = [(1, 1), (1, 5), (4, 1), (3, 4), (5, 3), (4, 4)]


def build_scan(grid, heads=HEADS, dim=DIM, **options):
    sizes = {"dim": dim, "heads": heads, "max_length": grid[0] * grid[1], "grid": grid}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scan = VARIANTS.load("multi-head-scan")
        module = build_attention(scan, options, pattern=Pattern.NS, **sizes)
    return module.double().eval()


@pytest.mark.parametrize("grid", GRIDS)
def test_every_route_visits_every_token_once(grid):
    for make in (snake, diagonals, spirals, raster):
        for route in make(*grid):
            assert sorted(route) == list(range(grid[0] * grid[1]))


def test_routes_of_a_picture_of_three_by_four():
    assert snake(3, 4)[0] == [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]
    assert snake(3, 4)[1] == [0, 4, 8, 9, 5, 1, 2, 6, 10, 11, 7, 3]
    assert diagonals(3, 4)[0] == [0, 1, 4, 8, 5, 2, 3, 6, 9, 10, 7, 11]
    assert diagonals(3, 4)[1] == [3, 2, 7, 11, 6, 1, 0, 5, 10, 9, 4, 8]
    assert spirals(3, 4)[0] == [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6]
    assert spirals(3, 4)[1] == [8, 9, 10, 11, 7, 3, 2, 1, 0, 4, 5, 6]
    assert raster(3, 4)[1] == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def recurrence(mixer, x, kept, heads):
    """One row (N, D), of which the tokens `kept` change states."""
    width, state = x.shape[1] // heads, mixer.config.state_width
    near = mixer.convolution(x.T.unflatten(1, mixer.grid)[None])[0].flatten(1).T
    spaces, out = mixer.subspaces(F.silu(near)), torch.zeros_like(x)
    makes = (snake, diagonals, spirals, raster)
    for head in range(heads):
        u, seen = spaces[:, head * width : (head + 1) * width], []
        first, second = makes[head % 4](*mixer.grid)
        for number, route in enumerate((first, first[::-1], second, second[::-1])):
            group = head * 4 + number
            memory, z = torch.zeros(width, state).to(x), torch.zeros_like(u)
            for t in route:
                parts = u[t] @ mixer.read[group]
                steps, b, c = parts.split((mixer.rank, state, state))
                delta = F.softplus(steps @ mixer.widen[group] + mixer.step_bias[group, 0])
                if kept[t]:
                    decay = torch.exp(-delta[:, None] * mixer.log_rate[group].exp())
                    memory = decay * memory + (delta * u[t])[:, None] * b
                z[t] = memory @ c + mixer.skip[group, 0] * u[t]
            seen.append(z)
        z = torch.stack(seen)
        deviation = (z.var(dim=0) + 1e-12).sqrt()
        variation = deviation / (z.mean(dim=0) - z.min(dim=0).values + 1e-5)
        fused = (variation - mixer.config.threshold).clamp(min=0) * z.sum(dim=0)
        out[:, head * width : (head + 1) * width] = fused
    return mixer.output(mixer.norm(out))


@torch.no_grad()
@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (5, 3)])
@pytest.mark.parametrize("options", [{}, {"state_width": 3, "threshold": 0.3}])
def test_it_is_its_recurrence(grid, options):
    mixer, length = build_scan(grid, **options), grid[0] * grid[1]
    x, padding = draw(2, length, DIM), draw(2, length, seed="holes") > 0.5
    for mask in (None, padding):
        got = mixer(x, key_padding_mask=mask)
        for row in range(2):
            kept = torch.ones(length, dtype=torch.bool) if mask is None else ~mask[row]
            here = x[row].masked_fill(~kept[:, None], 0.0)
            expected = recurrence(mixer, here, kept, HEADS)
            assert relative_difference(got[row], expected) <= 1e-10


@torch.no_grad()
def test_the_fifth_head_has_the_first_pattern():
    mixer = build_scan((3, 4), heads=5, dim=5 * HEAD_WIDTH)
    x, kept = draw(1, 12, 5 * HEAD_WIDTH), torch.ones(12, dtype=torch.bool)
    assert relative_difference(mixer(x)[0], recurrence(mixer, x[0], kept, 5)) <= 1e-10
