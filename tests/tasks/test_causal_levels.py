"""Tasks with levels: one network takes all of them, and each level asks for more."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from task_support import softmax_slots

from cab.registry import discover_tasks
from cab.seeding import generator
from cab.task import LONGEST, Task

TASKS = discover_tasks()
DATA = os.environ.get("CAB_DATA")
NAMES = [
    "few-shot",
    "mqar",
    "parity",
    "read-digits",
    "recall-latest",
    "recall-seq",
    "selective-copy",
    "sort",
    "spoken-recall",
    "transcribe",
    "transduce",
]


def make(name: str, profile: str) -> Task:
    if TASKS.card(name).data and DATA is None:
        pytest.skip(f"{name} needs real data: set CAB_DATA")
    task_class = TASKS.load(name)
    return task_class(task_class.recipes[profile], Path(DATA) if DATA else None)


@pytest.mark.parametrize("name", NAMES)
def test_one_network_learns_and_is_measured_at_every_level(name):
    task = make(name, "quick")
    model = task.build(softmax_slots(task.card.pattern))
    for level in task.at_levels():
        batch = level.draw("train", 3, generator("level", name, level.level))
        loss = level.loss(model, batch)
        loss.backward()
        assert torch.isfinite(loss)
        model.eval()
        with torch.no_grad():
            scored = level.evaluate(model, batch)[task.card.metric]
        assert scored.shape == (3,)
        assert scored.min() >= 0
        assert scored.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_levels_differ_and_the_last_has_the_longest_examples(name):
    levels = make(name, "quick").at_levels()
    assert 4 <= len(levels) <= 10
    assert len({str(asdict(level.recipe.data)) for level in levels}) == len(levels)
    sizes = [
        sum(part.numel() for part in level.draw("train", 3, generator("sizes", name)).values())
        for level in levels
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("name", NAMES)
def test_shortcuts_leave_room_at_the_top(name):
    top = make(name, "quick").at_levels()[-1]
    batch = top.draw("test", 200, generator("shortcuts", name))
    for shortcut, values in top.shortcuts(batch).items():
        assert values.mean() < 0.7, shortcut


@pytest.mark.parametrize("name", NAMES)
def test_the_rates_surround_the_one_of_the_recipe(name):
    recipe = make(name, "quick").recipe
    low, middle, high = recipe.rates
    assert middle == recipe.train.learning_rate
    assert 2 <= middle / low <= 2.5
    assert 2 <= high / middle <= 2.5


@pytest.mark.parametrize("name", NAMES)
def test_attention_has_at_least_two_heads_and_four_in_wide_networks(name):
    width = make(name, "quick").recipe.model.width
    assert width.heads >= (4 if width.dim >= 64 else 2)


def test_the_network_takes_the_longest_length_that_is_tested():
    for name in ("mqar", "selective-copy"):
        recipe = make(name, "quick").recipe
        assert recipe.model.length == LONGEST * recipe.data.length
