"""Every variant trains in every pattern that it declares, and costs at length what it claims."""

import math

import pytest
import torch
from accelerate import Accelerator
from support import VARIANTS

from cab.attention import build_attention
from cab.backbones.slots import Slots
from cab.conformance.check import subjects
from cab.conformance.cost import exponent
from cab.conformance.counting import count
from cab.conformance.subject import Shape
from cab.formula import evaluate
from cab.profiles import get_profile
from cab.registry import discover_tasks
from cab.running.cells import Request, plan
from cab.running.training import train

TASKS = discover_tasks()
BUILT_IN = [card.name for card in TASKS.cards() if not card.data]
PAIRS = [(card.name, pattern) for card in VARIANTS.cards() for pattern in card.patterns]
LONG, GRID = 8192, (64, 128)


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


def claimed_memory(card, pattern):
    """The exponent of the card's memory formula between 8,192 and 16,384 tokens."""
    (subject,) = subjects(VARIANTS, card.name, [pattern], options={})
    heads, width = subject.geometry
    names = {**subject.config, "H": heads, "E": width, "d": heads * width}
    names |= {"causal": pattern.causal, "cross": pattern.cross}
    values = [evaluate(card.memory, {**names, "N": n, "M": n}) for n in (LONG, 2 * LONG)]
    return exponent((1, 2), values)


SUB_QUADRATIC = [
    (card.name, pattern)
    for card in VARIANTS.cards()
    for pattern in card.patterns
    if card.role in ("entry", "equivalent") and claimed_memory(card, pattern) < 1.6
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pattern"), SUB_QUADRATIC)
def test_no_sub_quadratic_variant_makes_anything_as_large_as_all_pairs(name, pattern):
    (subject,) = subjects(VARIANTS, name, [pattern], options={})
    shape = Shape(LONG, GRID if subject.card.needs_grid else None)
    module = subject.build(shape, dtype=torch.float32, context=LONG)
    x = torch.zeros(1, LONG, subject.dim).normal_(generator=torch.Generator().manual_seed(0))
    counted = count(module, x, x.clone() if pattern.cross else None)
    all_pairs = 4 * LONG * LONG
    assert counted.peak_bytes < all_pairs / 2
