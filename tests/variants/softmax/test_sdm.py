"""Sparse distributed memory: weights are the shares of addresses that query and key both reach."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from support import (
    BATCH,
    CONTEXT,
    DIM,
    HEADS,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)


def shared_addresses(bits, radius, distance):
    """How many addresses lie within the radius of both of two that differ in `distance` bits."""
    agreeing = itertools.accumulate(math.comb(bits - distance, b) for b in range(radius + 1))
    up_to = [0, *agreeing]
    return sum(  # a bits flipped where the two differ, any b where they agree that both allow
        math.comb(distance, a) * up_to[max(0, radius + 1 - max(a, distance - a))]
        for a in range(distance + 1)
    )


def log_weights(attention, cosines):
    """The logarithms of the weights of one query, up to a constant."""
    cosines = torch.as_tensor(cosines, dtype=torch.float64)
    return attention._log_intersection(cosines[None, None, None])[0, 0, 0]


@pytest.mark.parametrize(("bits", "radius"), [(64, 11), (64, 5), (64, 15), (16, 5)])
def test_weights_are_the_chance_that_two_correlated_normals_are_both_far_out(bits, radius):
    """Kanerva's integral is that of a binormal distribution over a quadrant."""
    attention = build("sdm", "ns", bits=bits, radius=radius)
    cosines = [-0.8, -0.3, 0.0, 0.25, 0.5, 0.75, 0.9, 0.99]
    edge = (bits - 2 * radius) / bits**0.5

    def chance(cosine):
        def beyond(x):  # of the one, times the chance that the other is beyond too
            rest = (edge - cosine * x) / (1 - cosine**2) ** 0.5
            return math.exp(norm.logpdf(x) + norm.logsf(rest))

        return quad(beyond, edge, edge + 12, epsabs=0, epsrel=1e-9, limit=500)[0]

    chances = torch.tensor([chance(cosine) for cosine in cosines], dtype=torch.float64)
    difference = log_weights(attention, cosines) - chances.log()
    assert difference.max() - difference.min() <= 1e-5


def test_weights_follow_the_exact_count_of_addresses_of_bits():
    attention, distances = build("sdm", "ns", bits=1000, radius=451), range(0, 500, 50)
    exact = torch.tensor([math.log(shared_addresses(1000, 451, d)) for d in distances])
    got = log_weights(attention, [min(1 - 2 * d / 1000, 1 - 1e-6) for d in distances])
    exact, got = exact - exact[0], got - got[0]
    assert exact[-1] < -5
    assert (exact - got).abs().max() <= 0.05 * exact.abs().max()


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_values_are_averaged_by_these_weights(pattern):
    attention = build("sdm", pattern)
    x, context = draw(BATCH, 7, DIM), context_for(attention, BATCH)
    source = x if context is None else context
    keys = source.shape[1]
    q, k, v = (
        attention.split_heads(read(z))
        for read, z in ((attention.query, x), (attention.key, source), (attention.value, source))
    )
    cosine = torch.cosine_similarity(q[:, :, :, None], k[:, :, None], dim=-1)
    weights = attention._log_intersection(cosine).exp()
    assert weights.shape == (BATCH, HEADS, 7, keys)
    for padding in (None, right_padding([keys, 4, 1, 3], keys)):
        seen = weights if padding is None else weights * ~padding[:, None, None]
        seen = seen.tril() if pattern == "cs" else seen
        mixed = (seen / seen.sum(dim=-1, keepdim=True)) @ v
        got = attention(x, context, key_padding_mask=padding)
        expected = attention.output(attention.merge_heads(mixed))
        if padding is not None and context is None:
            got, expected = got[~padding], expected[~padding]
        assert relative_difference(got, expected) <= 1e-12


def test_the_derivative_is_that_of_the_weights():
    attention = build("sdm", "ns")
    cosine = torch.linspace(-0.95, 0.999, 41, dtype=torch.float64).requires_grad_()
    (got,) = torch.autograd.grad(log_weights(attention, cosine).sum(), cosine)
    step = 1e-5
    with torch.no_grad():
        ahead, behind = (log_weights(attention, cosine + sign * step) for sign in (1, -1))
    torch.testing.assert_close(got, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)


def test_a_smaller_radius_is_sharper_and_lengths_of_queries_and_keys_do_not_matter():
    sharp, wide = (build("sdm", "nc", radius=radius) for radius in (5, 20))
    falls = [log_weights(one, [0.9, 0.5, 0.0, -0.5]).diff() for one in (sharp, wide)]
    assert (falls[0] < falls[1]).all()
    assert (falls[1] < 0).all()
    x, context = draw(2, 5, DIM), draw(2, CONTEXT, DIM, seed="context")
    assert relative_difference(wide(7 * x, context), wide(x, context)) <= 1e-12


@pytest.mark.parametrize("options", [{"radius": 32}, {"radius": -1}, {"bits": 20}])
def test_a_radius_of_half_of_the_bits_or_more_is_refused(options):
    with pytest.raises(Exception, match="radius must be"):
        build("sdm", "ns", **options)
