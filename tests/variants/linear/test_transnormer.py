"""TransNormerLLM's attention against the paper's sum over pairs, with complex rotations."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import (
    BATCH,
    DIM,
    HEAD_WIDTH,
    HEADS,
    VARIANTS,
    build,
    draw,
    relative_difference,
)

from cab.attention import build_attention
from cab.taxonomy import Pattern


def build_layer(layer, layers, dim=DIM, heads=HEADS):
    sizes = {"dim": dim, "heads": heads, "max_length": 512, "train_length": 128}
    sizes |= {"layer": layer, "layers": layers}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_attention(VARIANTS.load("transnormer"), {}, pattern=Pattern.CS, **sizes)
    return module.double().eval()


def sums_over_pairs(attention, x, parts=1):
    """Each value head of each head by its matrix of weights (N, N)."""
    heads, width = attention.heads, x.shape[2] // attention.heads
    half, narrow, n = width // 2, width // parts, torch.arange(x.shape[1]).double()
    angle = 1.0 if attention.layer == 0 else 0.0
    theta = angle * 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    q, k = (F.silu(part(x)) for part in (attention.query, attention.key))
    v, mixed = attention.value(x), torch.zeros_like(x)
    distance = n[:, None] - n
    for number in range(heads * parts):
        cut = slice(number // parts * width, (number // parts + 1) * width)
        ours = slice(number * narrow, (number + 1) * narrow)
        one, two = q[..., cut], k[..., cut]
        pairs = [torch.complex(a[..., :half], a[..., half : 2 * half]) for a in (one, two)]
        # q conj(k) e^(i theta (t - s)), summed over pairs of channels
        turned = torch.exp(1j * distance[..., None] * theta)
        scores = (pairs[0][:, :, None] * pairs[1][:, None].conj() * turned).sum(dim=-1).real
        scores = scores + one[..., 2 * half :] @ two[..., 2 * half :].mT
        slope = 2.0 ** (-8 * (number + 1) / (heads * parts))  # 128 tokens: the paper's decays
        rate = slope * (1 - attention.layer / attention.layers)
        decay = torch.where(distance >= 0, torch.exp(-rate * distance.clamp(min=0)), 0.0)
        mixed[..., ours] = (scores * decay) @ v[..., ours]
    normed = mixed / (mixed.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    return attention.output(normed * attention.gate(x))


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 70])
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_it_is_its_sum_over_pairs(length, layer):
    attention, x = build_layer(layer, 4), draw(BATCH, length, DIM)
    assert relative_difference(attention(x), sums_over_pairs(attention, x)) <= 1e-11


@torch.no_grad()
@pytest.mark.parametrize(("dim", "heads", "parts"), [(16, 2, 2), (20, 1, 4)])
def test_fewer_than_four_heads_have_value_heads(dim, heads, parts):
    attention, x = build_layer(0, 2, dim, heads), draw(BATCH, 33, dim)
    assert relative_difference(attention(x), sums_over_pairs(attention, x, parts)) <= 1e-11


def test_in_later_layers_it_mixes_as_lightning_does():
    attention, plain = build_layer(1, 10**9), build("lightning", "cs", max_length=128)
    q, k, v = (draw(BATCH, HEADS, 17, HEAD_WIDTH, seed=name) for name in "qkv")
    # (1 - 1e-9) in the decays
    assert relative_difference(attention.attend(q, k, v), plain.attend(q, k, v)) <= 1e-8


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("transnormer", "cs", dtype)
