"""LARA against its importance weights, query by query and sample by sample."""

import itertools

import pytest
import torch
from linear_oracles import assert_is, error_to_softmax, segment_means, softmax_twin
from long_sequences import assert_survives, both_dtypes
from support import DIM, build, draw


def xi(x, omega):
    return torch.exp(omega @ x - x @ x / 2)


def normed(x, part):
    """A linear layer, then a layer norm."""
    linear, norm = part
    x = x @ linear.weight.T + linear.bias
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def sample(attention, q, k, v, head):
    mapped_q, mapped_k = (
        normed(x, part) for x, part in ((q, attention.query_landmark), (k, attention.key_landmark))
    )
    q, k, mapped_q, mapped_k = (x / x.shape[1] ** 0.25 for x in (q, k, mapped_q, mapped_k))
    mean_q, mean_k = (segment_means(x, attention.config.landmarks) for x in (mapped_q, mapped_k))
    centers, rows = mean_q + mean_k, []
    nearness = (q @ mean_q.T).softmax(dim=0)
    for t in range(len(q)):
        numerator, denominator = 0.0, 0.0
        for c, omega in enumerate(centers):
            balance = xi(omega, omega) / sum(xi(other, omega) for other in centers)
            alpha = (balance + nearness[t, c] - nearness[t].mean()).clamp(min=1e-8)
            seen = torch.stack([xi(key, omega) for key in k])
            weight = alpha * xi(q[t], omega) * seen.sum() / xi(omega, omega)
            numerator = numerator + weight * (seen @ v) / seen.sum()
            denominator = denominator + weight
        rows.append(numerator / denominator)
    return torch.stack(rows)


@pytest.mark.parametrize("landmarks", [1, 4])
def test_lara_is_its_estimator_written_out(landmarks):
    assert_is("lara", "ns", sample, lengths=(1, 2, 13), landmarks=landmarks)


def test_more_landmarks_come_nearer_to_softmax():
    errors = [error_to_softmax("lara", "ns", landmarks=2**power) for power in range(2, 7)]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_samples_around_the_landmarks_are_right_on_average():
    # With every sample from its own proposal the estimator's mean comes near softmax attention,
    # nearer than samples at the landmarks themselves.
    attention, x = build("lara", "ns", landmarks=64, noise=1.0), 0.5 * draw(1, 64, DIM)
    expected, at_landmarks = softmax_twin(attention)(x), attention(x)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        attention.train()
        mean = torch.stack([attention(x) for _ in range(300)]).mean(dim=0)
    assert not attention(x).equal(mean)
    assert (mean - expected).norm() < 0.5 * (at_landmarks - expected).norm()


def test_it_samples_in_training_alone():
    attention, x = build("lara", "ns", landmarks=4), draw(1, 17, DIM)
    assert attention(x).equal(attention(x))
    attention.train()
    assert not attention(x).equal(attention(x))
    silent = build("lara", "ns", landmarks=4, noise=0.0)
    assert silent.train()(x).equal(attention.eval()(x))


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("lara", "ns", dtype)
