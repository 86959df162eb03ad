"""Tasks with levels: what is trained when, what is tested, and what the records say of it."""

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from task_support import make, softmax_slots

from cab.running.facts import count_training_flops
from cab.running.training import train
from cab.task import GROWTH, level_at, level_names, open_levels


@given(st.integers(1, 3000), st.integers(1, 10))
def test_levels_open_one_after_another_and_are_visited_in_turn(steps, levels):
    opened = [open_levels(step, steps, levels) for step in range(1, steps + 1)]
    assert opened[0] == 1
    assert max(opened) <= levels
    assert all(before <= after for before, after in itertools.pairwise(opened))
    if steps >= 10 * levels:
        assert all(after - before <= 1 for before, after in itertools.pairwise(opened))
        last = [step for step in range(1, steps + 1) if step > GROWTH * steps + 1]
        assert {open_levels(step, steps, levels) for step in last} == {levels}
        visits = [level_at(step, steps, levels) for step in last]
        assert set(visits) == set(range(levels))
        assert max(map(visits.count, range(levels))) - min(map(visits.count, range(levels))) <= 1


def test_no_level_is_visited_before_it_opens():
    for step in range(1, 1001):
        assert 0 <= level_at(step, 1000, 6) < open_levels(step, 1000, 6)


@dataclass(frozen=True)
class Setting:
    """Some settings of data."""

    length: int
    pairs: int
    vocabulary: int = 64


def test_levels_are_named_by_what_differs():
    ladder = [Setting(16, 4), Setting(32, 8)]
    assert level_names(ladder) == ("length 16, pairs 4", "length 32, pairs 8")
    assert level_names([]) == ()


def with_levels(steps=20):
    """The task mqar in smoke with two levels, and its model."""
    task = make("mqar", "smoke")
    top = task.recipe.data
    easy = replace(top, length=top.length // 2, pairs=top.pairs // 2)
    training = replace(task.recipe.train, steps=steps)
    task.recipe = replace(task.recipe, levels=(easy, top), train=training)
    return task


def build(task):
    """The task's network, with softmax in its slots."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return task.build(softmax_slots("cs"))


def test_the_examples_of_levels_differ_and_are_the_same_every_time():
    one, other = with_levels().at_levels()
    again = with_levels().at_levels()[0]
    assert one.examples("test")["inputs"].shape != other.examples("test")["inputs"].shape
    assert one.examples("test")["inputs"].equal(again.examples("test")["inputs"])
    assert (one.level, other.level) == (1, 2)


def test_a_task_without_levels_is_its_only_one():
    task = make("mqar", "smoke")
    task.recipe = replace(task.recipe, levels=())
    assert task.at_levels() == (task,)
    assert task.level is None


def test_the_last_level_is_the_task_itself():
    task = with_levels()
    with pytest.raises(ValueError, match="last of levels"):
        replace(task.recipe, levels=task.recipe.levels[::-1])


def test_training_visits_the_levels_by_the_schedule(monkeypatch):
    task = with_levels()
    seen = []
    kind = type(task)
    draw = kind.draw

    def noting(self, split, count, generator):
        if split == "train":
            seen.append(self.level - 1)
        return draw(self, split, count, generator)

    monkeypatch.setattr(kind, "draw", noting)
    model = build(task)
    trained = train(task, model, Accelerator(cpu=True), 0, lambda done, total: None)
    assert seen == [level_at(step, 20, 2) for step in range(1, 21)]
    assert len(trained.levels) == 2
    mean = sum(one["accuracy"].value for one in trained.levels) / 2
    assert trained.valid["accuracy"].value == pytest.approx(mean)
    assert trained.curve[-1].valid["accuracy"] == trained.valid["accuracy"].value


def test_operations_are_counted_at_each_level_as_often_as_it_is_visited():
    task = with_levels()
    easy, top = task.at_levels()
    model = build(task)
    visits = [level_at(step, 20, 2) for step in range(1, 21)]
    alone = [
        count_training_flops(one, model) / one.recipe.train.steps * visits.count(number)
        for number, one in enumerate((easy, top))
    ]
    assert count_training_flops(task, model) == pytest.approx(sum(alone))
