"""NaLaFormer against its features by cosine and sine, and the query norm against spikiness."""

import math

import pytest
import torch
from linear_oracles import assert_is, normalised
from long_sequences import assert_survives, both_dtypes
from support import build, draw


def features(x, power):
    angle = math.pi / 2 * (x <= 0).double()
    cosine, sine = angle.cos().round(), angle.sin().round()  # pi / 2 has rounding of its own
    return torch.cat((x.abs() ** power * cosine, x.abs() ** power * sine), dim=1)


def weigh_by_direction(attention, q, k, v, head):
    norm = q.square().sum(dim=1, keepdim=True).sqrt()
    power = attention.config.power
    products = features(q / norm, power * (0.5 + torch.tanh(norm))) @ features(k, power).T
    return normalised(attention, products) @ v


@pytest.mark.parametrize("power", [2, 3, 3.5])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_nala_is_its_quadratic_form(pattern, power):
    assert_is("nala", pattern, weigh_by_direction, power=power)


def test_a_longer_query_weighs_keys_more_unequally():
    # Linear attention would not notice: its normalisation cancels the norm of the query.
    attention, q, k, entropies = build("nala", "ns"), draw(6, 5), draw(40, 5), []
    for scale in (0.1, 0.3, 1.0):
        weights = weigh_by_direction(attention, scale * q, k, torch.eye(40).double(), 0)
        entropies.append(-weights.xlogy(weights).sum(dim=1))
    assert (entropies[0] > entropies[1]).all()
    assert (entropies[1] > entropies[2]).all()


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("nala", "cs", dtype)
