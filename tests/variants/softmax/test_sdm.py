"""Sparse distributed memory: weights are the shares of addresses that query and key both reach."""

import math

import pytest
import torch
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
    """How many of all addresses lie within the radius of both of two, address by address."""
    one, other = 0, 2**distance - 1
    return sum(
        max((address ^ one).bit_count(), (address ^ other).bit_count()) <= radius
        for address in range(2**bits)
    )


def shared_of_many_bits(bits, radius, distance):
    """The same count by a recursion over bits: two budgets of flips, each bit uses one or both."""
    counts = {(radius, radius): 1}
    for bit in range(bits):
        costs = ((1, 0), (0, 1)) if bit < distance else ((0, 0), (1, 1))
        following = {}
        for (left, right), count in counts.items():
            for a, b in costs:
                if left >= a and right >= b:
                    key = (left - a, right - b)
                    following[key] = following.get(key, 0) + count
        counts = following
    return sum(counts.values())


def log_weights(attention, distances):
    """The logarithms of the weights of one query at distances in bits, less that at 0."""
    cosines = 1 - 2 * torch.as_tensor(distances, dtype=torch.float64) / attention.config.bits
    logs, beyond = attention._log_intersection(cosines[None, None, None])
    return logs.masked_fill(beyond, -torch.inf)[0, 0, 0]


@pytest.mark.parametrize(("bits", "radius"), [(11, 3), (12, 5), (9, 1)])
def test_weights_are_the_numbers_of_addresses_in_both_circles(bits, radius):
    even = range(0, 2 * radius + 1, 2)
    exact = [shared_addresses(bits, radius, distance) for distance in even]
    got = log_weights(build("sdm", "ns", bits=bits, radius=radius), list(even)).exp()
    expected = torch.tensor(exact, dtype=torch.float64) / exact[0]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    odd = [shared_addresses(bits, radius, distance + 1) for distance in even if distance]
    assert odd == [*exact[2:], 0]  # the steps of two bits, of which the middles are exact


def test_the_default_is_the_memory_of_64_bits_and_radius_11():
    attention, even = build("sdm", "ns"), range(0, 23, 2)
    exact = torch.tensor(
        [math.log(shared_of_many_bits(64, 11, d)) for d in even], dtype=torch.float64
    )
    difference = log_weights(attention, list(even)) - (exact - exact[0])
    assert difference.abs().max() <= 1e-12
    assert -14.2 < exact[-1] - exact[0] < -14.0
    # Between the middles of steps the weight is that of a line through both.
    between = log_weights(attention, [4.5, 20.2, 22.9])
    lines = [0.75 * exact[2] + 0.25 * exact[3], 0.9 * exact[10] + 0.1 * exact[11]]
    lines.append(exact[11] + 0.45 * (exact[11] - exact[10]))
    torch.testing.assert_close(between, torch.stack(lines) - exact[0], rtol=1e-12, atol=1e-12)


def test_keys_that_share_no_address_with_the_query_are_not_read():
    assert shared_of_many_bits(64, 11, 22) > 0
    assert shared_of_many_bits(64, 11, 23) == 0
    got = log_weights(build("sdm", "ns"), [22.99, 23.0, 32.0, 64.0])
    assert got.isfinite().tolist() == [True, False, False, False]


def test_a_query_that_is_near_no_key_gets_nothing():
    attention = build("sdm", "nc", dim=4, heads=1)
    with torch.no_grad():
        attention.query.weight.copy_(torch.eye(4))
        attention.key.weight.copy_(torch.eye(4))
    x = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]], dtype=torch.float64)
    context = torch.tensor([[[3.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    got = attention(x, context)
    assert relative_difference(got[:, 0], attention.output(attention.value(context[:, 0]))) < 1e-12
    assert not got[:, 1].any()


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
    logs, beyond = attention._log_intersection(cosine)
    weights = logs.exp() * ~beyond
    assert (weights == 0).any()
    assert weights.shape == (BATCH, HEADS, 7, keys)
    for padding in (None, right_padding([keys, 4, 1, 3], keys)):
        seen = weights if padding is None else weights * ~padding[:, None, None]
        seen = seen.tril() if pattern == "cs" else seen
        total = seen.sum(dim=-1, keepdim=True)
        mixed = (seen / total.masked_fill(total == 0, 1.0)) @ v
        got = attention(x, context, key_padding_mask=padding)
        expected = attention.output(attention.merge_heads(mixed))
        if padding is not None and context is None:
            got, expected = got[~padding], expected[~padding]
        assert relative_difference(got, expected) <= 1e-12


def test_the_derivative_is_that_of_the_weights():
    attention = build("sdm", "ns")
    distances = torch.arange(0.3, 22.5, 0.5, dtype=torch.float64).requires_grad_()
    (got,) = torch.autograd.grad(log_weights(attention, distances).sum(), distances)
    step = 1e-5
    with torch.no_grad():
        ahead, behind = (log_weights(attention, distances + sign * step) for sign in (1, -1))
    torch.testing.assert_close(got, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)
    assert (got < 0).all()


def test_a_smaller_radius_is_sharper_and_lengths_of_queries_and_keys_do_not_matter():
    sharp, wide = (build("sdm", "nc", radius=radius) for radius in (5, 20))
    falls = [log_weights(one, [0, 4, 8, 10]).diff() for one in (sharp, wide)]
    assert (falls[0] < falls[1]).all()
    assert (falls[1] < 0).all()
    x, context = draw(2, 5, DIM), draw(2, CONTEXT, DIM, seed="context")
    assert relative_difference(wide(7 * x, context), wide(x, context)) <= 1e-12


@pytest.mark.parametrize("options", [{"radius": 32}, {"radius": 0}, {"bits": 20}])
def test_a_radius_of_half_of_the_bits_or_more_is_refused(options):
    with pytest.raises(Exception, match="radius must be"):
        build("sdm", "ns", **options)
