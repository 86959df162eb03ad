"""Latent attention makes keys and values of all heads from one vector per token."""

import math

import pytest
import torch
from reading_by_loops import LENGTH, differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def turned(x):
    """Rotate (B, N, R) by complex numbers; an odd last channel stays."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    phase = torch.exp(1j * torch.arange(x.shape[1], dtype=torch.float64)[:, None] * rates)
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half]) * phase
    return torch.cat((pairs.real, pairs.imag, x[..., 2 * half :]), dim=-1)


@PATTERNS
@pytest.mark.parametrize(
    ("width", "latent", "shared"), [(HEAD_WIDTH, 0.5, 2), (7, 0.3, 3), (1, 1.0, 2)]
)
def test_it_is_the_formula_of_the_paper(pattern, width, latent, shared):
    dim = HEADS * width
    attention = build("mla", pattern, dim=dim, latent=latent)
    attention.norm.weight.data.add_(0.3 * draw(*attention.norm.weight.shape))
    assert attention.compress.weight.shape == (math.ceil(latent * dim), dim)

    def expected(x, source, padding):
        c = source @ attention.compress.weight.T
        c = c / (c.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * attention.norm.weight
        k, v = (split(c @ part.weight.T, HEADS) for part in (attention.key, attention.value))
        q = split(x @ attention.query.weight.T, HEADS)
        common = source @ attention.shared_key.weight.T
        position = [q[:, h, :, width:] for h in range(HEADS)]
        if pattern in ("ns", "cs"):
            common, position = turned(common), [turned(one) for one in position]
        assert common.shape[-1] == shared
        read = read_by_loops(
            lambda b, h, t, s: (
                (q[b, h, t, :width] @ k[b, h, s] + position[h][b, t] @ common[b, s])
                / (width + shared) ** 0.5
            ),
            v,
            x.shape[1],
            causal=pattern == "cs",
            padding=padding,
        )
        return merge(read) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


def test_decoding_from_latent_vectors_gives_the_outputs_of_the_whole_sequence():
    attention, x = build("mla", "cs"), draw(BATCH, LENGTH, DIM)
    state, expected = attention.initial_state(BATCH), attention(x)
    first, state = attention.prefill(x[:, :4], state)
    outputs = [first]
    for t in range(4, LENGTH):
        y, state = attention.step(x[:, t], state)
        outputs.append(y[:, None])
    assert relative_difference(torch.cat(outputs, dim=1), expected) <= 1e-12
    assert state.latent.shape == (BATCH, LENGTH, 8)
    assert state.shared.shape == (BATCH, LENGTH, 2)


@pytest.mark.parametrize("latent", [0.0, -0.5, 1.5])
def test_a_latent_part_that_cannot_be_is_refused(latent):
    with pytest.raises(Exception, match="latent must be above 0 and at most 1"):
        build("mla", "cs", latent=latent)
