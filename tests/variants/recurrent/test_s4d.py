"""S4D is a convolution, a recurrence, and a sampled linear differential equation."""

import math

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import DIM, build, draw, relative_difference

OPTIONS = {"state": 6, "chunk": 8}


def perturbed(pattern, **options):
    """Build with offsets away from where they start."""
    attention = build("s4d", pattern, **OPTIONS, **options)
    with torch.no_grad():
        for number, offset in enumerate(
            (attention.step_offset, attention.damping_offset, attention.frequency_offset)
        ):
            offset.copy_(0.3 * draw(*offset.shape, seed=number))
    return attention


def system(attention):
    """A, C and the steps, as the paper has them: A_n = -exp(.)/2 + i (pi n + .)."""
    harmonics = math.pi * torch.arange(3, dtype=torch.float64)
    a = torch.complex(-attention.damping_offset.exp() / 2, harmonics + attention.frequency_offset)
    # For 256 tokens, four times the paper's steps for 1,024.
    spread = torch.linspace(math.log(0.004), math.log(0.4), DIM, dtype=torch.float64)
    return a, torch.view_as_complex(attention.reading), (spread + attention.step_offset).exp()


def written(attention, y, x):
    content, gate = attention.output(F.gelu(y + attention.skip * x)).chunk(2, dim=-1)
    return content * gate.sigmoid()


def kernels(attention, length):
    """2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(l dt A_n) for each direction (P, D, L)."""
    a, c, step = system(attention)
    scaled, time = step[:, None] * a, torch.arange(length)
    inputs = c * (scaled.exp() - 1) / a
    return 2 * (inputs[..., None] * (scaled[..., None] * time).exp()).sum(dim=2).real


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 7, 33])
def test_s4d_is_a_convolution(pattern, length):
    attention, x = perturbed(pattern).requires_grad_(False), draw(2, length, DIM)
    kernel, y = kernels(attention, length), torch.zeros_like(x)
    for t in range(length):
        for s in range(t + 1):
            y[:, t] += kernel[0, :, t - s] * x[:, s]
        if pattern == "ns":
            for s in range(t + 1, length):
                y[:, t] += kernel[1, :, s - t - 1] * x[:, s]
    assert relative_difference(attention(x), written(attention, y, x)) <= 1e-11


def test_s4d_samples_its_differential_equation():
    """X' = A X + u with u held over a step, by the exponential of a real matrix."""
    attention, x = perturbed("cs").requires_grad_(False), draw(1, 20, DIM)
    (a, c, step), y = system(attention), torch.zeros_like(x)
    for channel in range(DIM):
        for n in range(3):
            re, im = a[channel, n].real.item(), a[channel, n].imag.item()
            joint = torch.tensor([[re, -im, 1.0], [im, re, 0.0], [0.0, 0.0, 0.0]]).double()
            over_step = torch.matrix_exp(step[channel] * joint)
            state = torch.zeros(2, dtype=torch.float64)
            for t in range(20):
                state = over_step[:2, :2] @ state + over_step[:2, 2] * x[0, t, channel]
                reading = c[0, channel, n]
                y[0, t, channel] += 2 * (reading.real * state[0] - reading.imag * state[1])
    # A tensor of float32 literals enters the matrix.
    assert relative_difference(attention(x), written(attention, y, x)) <= 1e-6


def test_short_steps_do_not_cancel():
    exact, rounded = (
        perturbed("cs", shortest_step=1e-6, longest_step=1e-6).to(dtype)
        for dtype in (torch.float64, torch.float32)
    )
    expected, got = (attention.discretise()[1] for attention in (exact, rounded))
    assert ((got - expected).abs() / expected.abs()).max() < 1e-5


@both_dtypes
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_it_survives_a_long_sequence(pattern, dtype):
    assert_survives("s4d", pattern, dtype, state=8)
