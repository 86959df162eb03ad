"""Differential attention subtracts two softmax maps."""

import math

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, VARIANTS, build, context_for, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
HEADS, WIDTH, LAYERS = 3, 6, 5
DIM = HEADS * WIDTH


def in_layer(layer, pattern):
    """A module whose parameters all differ, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(layer)
        attention = build_attention(
            VARIANTS.load("diff"),
            {},
            dim=DIM,
            heads=HEADS,
            pattern=Pattern(pattern),
            max_length=64,
            layer=layer,
            layers=LAYERS,
        ).double()
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.2 * draw(*parameter.shape, seed=number))
    return attention


@PATTERNS
@pytest.mark.parametrize(
    ("layer", "start"), [(0, 0.2), (1, 0.8 - 0.6 * 0.7408182206817179), (4, 0.6192834728526787)]
)
def test_it_is_the_formula_of_the_paper(pattern, layer, start):
    attention, half = in_layer(layer, pattern), WIDTH // 2

    def expected(x, source, padding):
        q, k, v = (
            split(z @ part.weight.T, HEADS)
            for part, z in (
                (attention.query, x),
                (attention.key, source),
                (attention.value, source),
            )
        )
        read = [
            read_by_loops(
                lambda b, h, t, s, cut=cut: q[b, h, t, cut] @ k[b, h, s, cut] / math.sqrt(half),
                v,
                x.shape[1],
                causal=pattern == "cs",
                padding=padding,
            )
            for cut in (slice(0, half), slice(half, WIDTH))
        ]
        first, second = (math.exp(a @ b) for a, b in zip(attention.a, attention.b, strict=True))
        mixed = read[0] - (first - second + start) * read[1]
        root = (mixed.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        mixed = (1 - start) * mixed / root * attention.norm.weight
        return merge(mixed) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


@PATTERNS
def test_two_equal_maps_leave_what_softmax_reads_up_to_its_size(pattern):
    attention = build("diff", pattern, dim=DIM, heads=HEADS)
    softmax = build("softmax", pattern, dim=DIM, heads=HEADS)
    with torch.no_grad():
        for part in (attention.query, attention.key):
            rows = part.weight.unflatten(0, (HEADS, 2, WIDTH // 2))
            rows[:, 1] = rows[:, 0]
        state = attention.state_dict()
        names = [name for name in state if name.startswith(("query", "key", "value", "output"))]
        softmax.load_state_dict({name: state[name] for name in names})
        # Twice the same product over sqrt(E) is sqrt(2) times that of a half over sqrt(E / 2).
        softmax.query.weight.div_(math.sqrt(2))
        softmax.output.weight.copy_(torch.eye(DIM))
        attention.output.weight.copy_(torch.eye(DIM))
        x, context = draw(BATCH, 7, DIM), context_for(attention, BATCH)
        got, read = (split(module(x, context), HEADS) for module in (attention, softmax))
        aligned = torch.nn.functional.cosine_similarity(got, read, dim=-1)
    assert (aligned - 1).abs().max() <= 1e-12


def test_a_head_of_odd_width_is_refused():
    with pytest.raises(ValueError, match="width 5 is odd"):
        build("diff", "cs", dim=15, heads=3)


def test_layers_start_with_the_factors_of_the_paper():
    factors = [in_layer(layer, "cs").factor for layer in range(LAYERS)]
    expected = torch.tensor([0.2, 0.355509, 0.470713, 0.556058, 0.619283])
    assert relative_difference(torch.tensor(factors), expected) <= 1e-6
