"""Performer against its features written out, and against the softmax that it estimates."""

import itertools

import pytest
import torch
from linear_oracles import assert_is, error_to_softmax, normalised
from long_sequences import assert_survives, both_dtypes
from support import DIM, HEAD_WIDTH, build, draw

patterns = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def weigh_by_features(attention, q, k, v, head):
    def features(x):
        x = x / HEAD_WIDTH**0.25
        return torch.exp(x @ attention.frequencies.T - x.square().sum(dim=1, keepdim=True) / 2)

    return normalised(attention, features(q) @ features(k).T) @ v


@patterns
def test_performer_is_its_quadratic_form(pattern):
    assert_is("performer", pattern, weigh_by_features, features=11)


@patterns
def test_more_features_come_nearer_to_softmax(pattern):
    errors = [error_to_softmax("performer", pattern, features=8**power) for power in (1, 2, 3, 4)]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.5 * errors[0]


def test_features_are_orthogonal_in_blocks_and_as_long_as_normal_ones():
    attention = build("performer", "ns", dim=16, heads=1, features=4000)
    blocks = attention.frequencies.unflatten(0, (-1, 16))
    products = blocks @ blocks.mT
    assert products.masked_fill(torch.eye(16) > 0, 0.0).abs().max() < 1e-4
    moments = attention.frequencies.T @ attention.frequencies / 4000
    assert (moments - torch.eye(16)).abs().max() < 0.1


@pytest.mark.parametrize("scale", [30, 300])
def test_a_key_far_larger_than_others_leaves_the_past_as_it_was(scale):
    # A maximum over time would let the later key's exponent round the earlier ones away.
    attention = build("performer", "cs", dtype=torch.float32)
    x = draw(1, 40, DIM, dtype=torch.float32)
    before = attention(x)
    x[:, 20:] *= scale
    after = attention(x)
    assert after.isfinite().all()
    assert after[:, :20].equal(before[:, :20])


def test_large_keys_keep_their_exact_weights():
    attention, x = build("performer", "cs"), 50 * draw(1, 40, DIM)
    rounded = build("performer", "cs", dtype=torch.float32)
    expected = attention(x)
    assert expected.abs().amax(dim=2).min() > 1
    assert (rounded(x.float()) - expected).abs().max() < 1e-2 * expected.abs().max()


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("performer", "cs", dtype, features=16)
