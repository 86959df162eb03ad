"""regress: samples of a random function, and its values at other places."""

import math

import pytest
import torch
from task_support import make, scored_by

from cab.seeding import generator
from cab.tasks.long_range.regress import Waves, generate

LEVELS = make("regress").at_levels()


def test_samples_and_targets_are_of_one_function_of_the_given_frequency():
    params = Waves(samples=300, queries=100, waves=3, frequency=2, noise=0.0)
    batch = generate(params, 20, generator("waves"))
    for row in range(20):
        order = batch["places"][row].argsort()
        places, values = batch["places"][row][order], batch["values"][row][order]
        for place, target in zip(batch["asked"][row], batch["targets"][row], strict=True):
            at = int(torch.searchsorted(places, place))
            near = slice(max(at - 1, 0), at + 1)
            gap = (places[near] - place).abs().max()
            # A sum of sinusoids of amplitudes a moves by at most 2 pi frequency sum(a) per unit.
            slope = 2 * math.pi * params.frequency * 3 * 4
            assert (values[near] - target).abs().min() <= slope * gap + 1e-5


def test_levels_grow_in_samples_and_in_frequency():
    settings = [(level.recipe.data.samples, level.recipe.data.frequency) for level in LEVELS]
    assert settings == [(256, 1), (256, 3), (512, 6), (512, 12)]
    for level in LEVELS:
        batch = level.draw("test", 3, generator("levels"))
        assert batch["context"].shape == (3, level.recipe.data.samples, 13)
        assert batch["inputs"].shape == (3, 32, 12)


def test_the_nearest_sample_is_found_among_all():
    task = LEVELS[0]
    batch = task.draw("test", 5, generator("nearest"))
    (score,) = task.shortcuts(batch).values()
    for row in range(5):
        errors = []
        for place, target in zip(batch["asked"][row], batch["targets"][row], strict=True):
            known = zip(batch["places"][row], batch["values"][row], strict=True)
            _, value = min((abs(at - place).item(), value) for at, value in known)
            errors.append((value - target).square().item())
        assert score[row] == pytest.approx(1 - sum(errors) / len(errors), abs=1e-4)


def test_r2_is_one_minus_the_mean_squared_error():
    task = LEVELS[0]
    batch = task.draw("test", 2, generator("r2"))
    answers = batch["targets"].clone()
    answers[1] += 0.5
    assert scored_by(task, batch, answers[..., None])["r2"].tolist() == pytest.approx([1, 0.75])
