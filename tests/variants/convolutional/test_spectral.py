"""Spectral gating is a circular convolution, whose kernel the weights are the spectrum of."""

import pytest
import torch
from convolution_oracles import build_on_grid
from support import DIM, build, draw, relative_difference

from cab.attention import build_attention
from cab.errors import Unsupported


def on_a_line(length):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer = build_attention(
            type(build("spectral", "ns")), {}, dim=DIM, heads=3, pattern="ns", max_length=length
        )
    return mixer.double().requires_grad_(False)


@pytest.mark.parametrize("longest", [1, 2, 7, 12])
@pytest.mark.parametrize("shorter", [0, 1, 4])
def test_gating_is_a_circular_convolution(longest, shorter):
    mixer, length = on_a_line(longest), max(1, longest - shorter)
    kernel = torch.fft.irfft(torch.view_as_complex(mixer.weight), n=longest, dim=0)
    x, expected = draw(2, length, DIM), torch.zeros(2, length, DIM, dtype=torch.float64)
    for t in range(length):
        for s in range(length):
            expected[:, t] += kernel[(t - s) % longest] * x[:, s]
    assert relative_difference(mixer(x), expected) <= 1e-12


@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (4, 3)])
def test_gating_is_a_circular_convolution_of_pictures(grid):
    mixer, (rows, columns) = build_on_grid("spectral", grid), grid
    weight = torch.view_as_complex(mixer.weight)
    kernel = torch.fft.irfft2(weight, s=grid, dim=(0, 1))
    x, length = draw(2, rows * columns, DIM), rows * columns
    expected = torch.zeros_like(x)
    for t in range(length):
        for s in range(length):
            row, column = (t // columns - s // columns) % rows, (t - s) % columns
            expected[:, t] += kernel[row, column] * x[:, s]
    assert relative_difference(mixer(x), expected) <= 1e-12


def test_more_tokens_than_frequencies_are_refused():
    with pytest.raises(Unsupported, match="at most 7 tokens"):
        on_a_line(7)(draw(1, 8, DIM))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_survives_a_long_sequence(dtype):
    mixer = build_attention(
        type(build("spectral", "ns")), {}, dim=4, heads=2, pattern="ns", max_length=65_537
    ).to(dtype)
    x = draw(1, 65_537, 4, dtype=dtype).requires_grad_()
    mixer(x).sum().backward()
    assert x.grad.isfinite().all()
    assert mixer.weight.grad.isfinite().all()
