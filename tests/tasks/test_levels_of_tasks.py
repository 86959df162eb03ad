"""Tasks with levels: one network, built for the largest, learns from and is tested on all."""

import itertools

import pytest
import torch
from task_support import TASKS, make, softmax_slots

from cab.seeding import generator
from cab.task import Task

LEVELLED = sorted(
    name
    for name in TASKS.names()
    if not TASKS.card(name).data and getattr(TASKS.load(name).recipes.get("quick"), "levels", ())
)


def test_some_tasks_have_levels():
    assert LEVELLED


@pytest.mark.parametrize("name", LEVELLED)
@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_one_network_takes_every_level(name, profile):
    task = make(name, profile)
    assert 2 <= len(task.at_levels()) == len(task.recipe.levels) <= 8
    model = task.build(softmax_slots(task.card.pattern))
    for level in task.at_levels():
        batch = level.draw("train", 3, generator("levels", name))
        loss = level.loss(model, batch)
        assert loss.isfinite()
        loss.backward()
        with torch.no_grad():
            metrics = level.evaluate(model, batch)
        assert metrics[task.card.metric].shape == (3,)


@pytest.mark.parametrize("name", LEVELLED)
def test_levels_differ_and_their_examples_are_fixed_and_different(name):
    task = make(name, "smoke")
    settings = task.recipe.levels
    assert len({str(one) for one in settings}) == len(settings)
    first, again = (
        [level.examples("test") for level in make(name, "smoke").at_levels()] for _ in range(2)
    )
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)
    keys = first[0].keys()
    assert any(
        one[key].shape != other[key].shape or not torch.equal(one[key], other[key])
        for one, other in itertools.pairwise(first)
        for key in keys
    )


@pytest.mark.parametrize("name", LEVELLED)
def test_no_shortcut_solves_a_level_above_the_easiest(name):
    # The easiest is to be learned by any mechanism, so a shortcut may solve it, too.
    task: Task = make(name)
    for level in task.at_levels()[1:]:
        batch = level.draw("test", 100, generator("shortcuts", name))
        for shortcut, values in level.shortcuts(batch).items():
            assert values.mean() < 0.95, (level.recipe.data, shortcut)


@pytest.mark.parametrize("name", LEVELLED)
def test_the_middle_rate_is_that_of_the_recipe_and_heads_are_no_fewer_than_two(name):
    recipe = make(name).recipe
    assert len(recipe.rates) == 3
    assert recipe.rates[1] == recipe.train.learning_rate
    low, middle, high = recipe.rates
    assert 2 <= middle / low <= 2.5
    assert 2 <= high / middle <= 2.5
    width = recipe.model.width
    assert width.heads >= (4 if width.dim >= 64 else 2)
