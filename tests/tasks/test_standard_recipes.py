"""The standard recipes of the scored tasks: larger than quick, and run by the same path."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from cli_support import DATA, cells_of, run_cells
from support import REPOSITORY
from task_support import TASKS

from cab.profiles import get_profile
from cab.registry import certified, discover_variants
from cab.running.fitting import built_length
from cab.task import Recipe, Task

SCORED = [card.name for card in TASKS.cards() if card.in_row("quick")]
QUICK_TO_RUN = ("align", "locate")
SOFTMAX = discover_variants().load("softmax")


def recipe(name: str, profile: str) -> Recipe:
    loaded = TASKS.load(name)
    assert issubclass(loaded, Task)
    return loaded.recipes[profile]


def test_the_rows_of_standard_and_quick_hold_the_same_tasks() -> None:
    assert [card.name for card in TASKS.cards() if card.in_row("standard")] == SCORED
    assert len(SCORED) == 22


def test_the_pages_say_what_is_certified_in_standard() -> None:
    done, tasks = certified(TASKS, "standard")
    assert tasks == 22
    page = (REPOSITORY / "docs" / "tasks.md").read_text(encoding="utf-8")
    front = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert ("| none of the 22 | none |" in page) is (done == 0)
    assert ("standard and full, no task is certified" in front) is (done == 0)


@pytest.mark.parametrize("name", SCORED)
def test_a_standard_recipe_has_levels_and_rates_as_in_quick_and_is_larger(name: str) -> None:
    quick, standard = recipe(name, "quick"), recipe(name, "standard")
    assert 4 <= len(standard.levels) <= 8
    assert len(standard.rates) == 3
    assert standard.rates[1] == standard.train.learning_rate
    assert all(1.9 < two / one < 2.6 for one, two in itertools.pairwise(standard.rates))
    assert standard.train.steps > 4 * quick.train.steps
    assert standard.train.batch_size >= quick.train.batch_size
    assert standard.test_examples >= quick.test_examples
    wide, before = standard.model.width, quick.model.width
    assert wide.dim >= 2 * before.dim
    assert wide.heads >= 4
    assert wide.short_convolution == before.short_convolution
    loaded = TASKS.load(name)
    longest = [built_length(loaded(one), SOFTMAX) for one in (quick, standard)]
    assert longest[1] >= 3 * longest[0]
    card = TASKS.card(name)
    assert card.certificate["standard"].margin == card.certificate["quick"].margin


def test_mqar_is_that_of_zoology() -> None:
    standard = recipe("mqar", "standard")
    assert {level.vocabulary for level in standard.levels} == {8192}
    assert [(level.length, level.pairs) for level in standard.levels] == [
        *((64, 4), (128, 8), (256, 16), (256, 32), (256, 64), (512, 128), (1024, 256)),
    ]
    assert standard.model.positions is False
    for dim in (64, 256, 512):  # the other widths of zoology
        (cell,) = cells_of(
            ["softmax"], profile=get_profile("standard"), options={"model.dim": str(dim)}
        )
        assert cell.recipe.model.width.dim == dim


def tiny(whole: Recipe) -> Recipe:
    """All that a standard recipe has, but a few steps and examples."""
    train = replace(whole.train, steps=2 * len(whole.levels), batch_size=2)
    examples = {"valid_examples": 2, "test_examples": 2, "evaluation_batch": 2}
    return replace(whole, train=train, evaluations=1, **examples)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_TO_RUN else pytest.mark.slow)
        for name in SCORED
    ],
)
def test_a_standard_recipe_trains_and_is_tested_at_all_levels(name: str, tmp_path: Path) -> None:
    if TASKS.card(name).data and not DATA:
        pytest.skip(f"{name} needs real data: set CAB_DATA")
    # The memory limit of quick is an eighth of the profile's own.
    profile = replace(get_profile("standard"), memory_limit=get_profile("quick").memory_limit)
    (cell,) = cells_of(["softmax"], tasks=[name], profile=profile)
    small = replace(cell, recipe=tiny(cell.recipe))
    (finished,) = run_cells(tmp_path, [small])[0]
    record = finished.record
    assert record is not None
    assert record.status == "ok", record.message
    assert record.task.profile == "standard"
    assert len(record.metrics.levels) == len(cell.recipe.levels)
    assert all(one.status == "ok" for one in record.metrics.lengths)
    assert record.cost.steps == small.recipe.train.steps
    assert record.cost.peak_bytes is not None
    assert record.cost.peak_bytes < profile.memory_limit * 2**30
