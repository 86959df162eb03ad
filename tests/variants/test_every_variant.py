"""Every variant trains in every pattern that it declares."""

import math

import pytest
import torch
from accelerate import Accelerator
from support import VARIANTS

from cab.attention import build_attention
from cab.backbones.slots import Slots
from cab.profiles import get_profile
from cab.registry import discover_tasks
from cab.running.cells import Request, plan
from cab.running.training import train

TASKS = discover_tasks()
BUILT_IN = [card.name for card in TASKS.cards() if not card.data]
PAIRS = [(card.name, pattern) for card in VARIANTS.cards() for pattern in card.patterns]


def tasks_of(variant, pattern):
    """The built-in tasks of a pattern that a variant can run on."""
    request = Request([variant], get_profile("smoke"), diagnostic=True)
    cells = plan(request, VARIANTS, TASKS).cells
    names = [cell.task.name for cell in cells if cell.task.pattern == pattern]
    return [name for name in names if name in BUILT_IN]


@pytest.mark.parametrize(("name", "pattern"), PAIRS)
def test_a_variant_trains_on_a_task_of_each_pattern(name, pattern):
    tasks = tasks_of(name, pattern)
    if not tasks:
        pytest.skip(f"no built-in task of {pattern} takes {name}")
    task_class = TASKS.load(tasks[0])
    task = task_class(task_class.recipes["smoke"])

    def factory(of):
        return lambda **geometry: build_attention(VARIANTS.load(of), {}, **geometry)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(Slots(pattern, factory(name), factory("softmax")))
        trained = train(task, model, Accelerator(cpu=True), 0, lambda done, total: None)
    assert math.isfinite(trained.curve[-1].loss)
