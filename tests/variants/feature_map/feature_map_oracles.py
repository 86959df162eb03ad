"""Modules of feature maps in float64, and their parts in plain loops."""

import torch
from support import VARIANTS, draw

from cab.attention import build_attention
from cab.taxonomy import Pattern

GRID = (3, 5)
DIM, HEADS = 12, 3


def build_gate(name, grid=GRID, dim=DIM, heads=HEADS, **options):
    """A module in evaluation mode, whose parameters are all moved from where they start."""
    sizes = {"dim": dim, "heads": heads, "pattern": Pattern.NS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_attention(
            VARIANTS.load(name), options, max_length=grid[0] * grid[1], grid=grid, **sizes
        )
    module = module.double().eval()
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            parameter += 0.3 * draw(*parameter.shape, seed=key)
    return module


def draw_map(grid=GRID, dim=DIM, batch=2, seed=0):
    """Tokens (B, N, D) of a map."""
    return draw(batch, grid[0] * grid[1], dim, seed=("map", seed))


def mask_some(grid=GRID, batch=2):
    """A mask (B, N) of a third of the places, other ones in each row."""
    mask = draw(batch, grid[0] * grid[1], seed="mask") > 0.4
    assert mask.any(dim=1).all()
    assert not mask.all(dim=1).any()
    return mask


def picture_of(x, grid=GRID):
    """Tokens (B, N, D) as a map (B, D, R, C), place by place."""
    picture = x.new_empty(x.shape[0], x.shape[2], *grid)
    for t in range(x.shape[1]):
        picture[:, :, t // grid[1], t % grid[1]] = x[:, t]
    return picture


def tokens_of(picture):
    """Undo `picture_of`."""
    places = [(r, c) for r in range(picture.shape[2]) for c in range(picture.shape[3])]
    return torch.stack([picture[:, :, r, c] for r, c in places], dim=1)


def linear(layer, x):
    """A linear layer or one with a kernel of 1, on the last dimension."""
    weight = layer.weight.flatten(1)
    return x @ weight.T if layer.bias is None else x @ weight.T + layer.bias


def convolve(layer, picture):
    """A convolution of a map (B, D, R, C) with zeros around it, by loops."""
    weight, groups = layer.weight, layer.groups
    outputs, inputs, height, width = weight.shape
    rows, columns = picture.shape[2:]
    result = picture.new_zeros(picture.shape[0], outputs, rows, columns)
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for r in range(rows):
            for c in range(columns):
                for i in range(height):
                    for j in range(width):
                        y, z = r + i - height // 2, c + j - width // 2
                        if 0 <= y < rows and 0 <= z < columns:
                            read = picture[:, first : first + inputs, y, z]
                            result[:, o, r, c] += (read * weight[o, :, i, j]).sum(dim=1)
        if layer.bias is not None:
            result[:, o] += layer.bias[o]
    return result


def convolve_line(weight, line):
    """A convolution (k numbers) of the last dimension with zeros around it, by loops."""
    length, half = line.shape[-1], len(weight) // 2
    result = torch.zeros_like(line)
    for t in range(length):
        for j in range(len(weight)):
            if 0 <= t + j - half < length:
                result[..., t] += weight[j] * line[..., t + j - half]
    return result
