"""A depthwise convolution by loops, and mixers on pictures."""

import torch
from support import DIM, HEADS, VARIANTS

from cab.attention import build_attention


def build_on_grid(name, grid, *, dim=DIM, heads=HEADS, dtype=torch.float64, **options):
    """Construct a mixer for pictures, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer = build_attention(
            VARIANTS.load(name),
            options,
            dim=dim,
            heads=heads,
            pattern="ns",
            max_length=grid[0] * grid[1],
            grid=grid,
        )
    return mixer.to(dtype).eval().requires_grad_(False)


def filtered(convolution, x, grid=None):
    """Sum taps over the tokens (B, N, C) that exist, on a line (grid None) or a picture.

    A depthwise filter is a dense one that reads no other channel.
    """
    weight, bias = convolution.filters.weight, convolution.filters.bias
    if convolution.filters.groups > 1:
        weight = torch.stack([torch.diag(tap[:, 0]) for tap in weight.flatten(2).unbind(2)], dim=2)
        weight = weight.unflatten(2, convolution.filters.weight.shape[2:])
    step, causal = convolution.filters.dilation[0], convolution.causal
    taps = weight.shape[-1]
    middle = taps - 1 if causal else taps // 2
    out = torch.zeros_like(x) if bias is None else torch.zeros_like(x) + bias
    rows, columns = (1, x.shape[1]) if grid is None else grid
    for t in range(x.shape[1]):
        for a in range(taps if grid else 1):
            for b in range(taps):
                row = t // columns + (step * (a - middle) if grid else 0)
                column = t % columns + step * (b - middle)
                if 0 <= row < rows and 0 <= column < columns:
                    tap = weight[:, :, a, b] if grid else weight[:, :, b]
                    out[:, t] += x[:, row * columns + column] @ tap.T
    return out
