"""Based against exponentials near by and Taylor series far away, pair by pair."""

import pytest
import torch
from linear_oracles import assert_is, error_to_softmax, normalised, softmax_twin
from long_sequences import assert_survives, both_dtypes
from support import DIM, build, draw, relative_difference


def weigh_near_and_far(attention, q, k, v, head):
    scores = q @ k.T / k.shape[1] ** 0.5
    distance = torch.arange(len(q))[:, None] - torch.arange(len(k))
    series = 1 + scores + scores**2 / 2
    return (
        normalised(
            attention, torch.where(distance < attention.config.window, scores.exp(), series)
        )
        @ v
    )


@pytest.mark.parametrize("width", [2, 16])
@pytest.mark.parametrize("window", [1, 3, 8, 40])
def test_based_is_its_sum_over_pairs(window, width):
    assert_is("based", "cs", weigh_near_and_far, window=window, feature_width=width)


@pytest.mark.parametrize("window", [17, 20])
def test_a_window_of_the_length_is_softmax_attention(window):
    attention, x = build("based", "cs", window=window), draw(2, 17, DIM)
    assert relative_difference(attention(x), softmax_twin(attention)(x)) <= 1e-12


def test_small_scores_make_the_series_the_exponential():
    errors = [error_to_softmax("based", "cs", scale=scale, window=1) for scale in (1, 0.5, 0.25)]
    assert errors[1] < errors[0] / 8
    assert errors[2] < errors[1] / 8


@pytest.mark.parametrize("window", [1, 4])
def test_scores_far_below_zero_near_by_still_weigh(window):
    # exp(-1000) is nothing beside a far key's 1, and everything where there is no far key.
    attention = build("based", "cs", dim=5, heads=1, window=window, dtype=torch.float32)
    with torch.no_grad():
        attention.key.weight.copy_(-attention.query.weight)
    x = (200 * draw(1, 20, 5, dtype=torch.float32)).requires_grad_()
    out = attention(x)
    out.sum().backward()
    assert out[0, 0].abs().max() > 1
    assert x.grad.isfinite().all()


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("based", "cs", dtype)
