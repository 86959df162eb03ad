"""The choice of learning rates in a run: rates first, then more seeds at the chosen one."""

from pathlib import Path
from typing import Any

import pytest
from cli_support import cab_here
from support import HELPERS
from sweep_support import EVERY_EXECUTOR, sweep_on

from cab.commands.cells.sharding import Shard
from cab.profiles import get_profile
from cab.records.rates import chosen_rate, rate_of
from cab.records.store import Record, RecordStore
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell, Request, plan
from cab.running.search import Search, group_of

TASK = HELPERS / "searched_task.py"
WHAT = ("--variant", "mean", "--task", "searched", "--include", TASK)
HOW = ("--unchecked", "--tracking", "none", "--device", "cpu", "--json")
RATES = (0.0001, 0.02, 0.05)
TRIED = (*RATES, 0.1, 0.2)
"""The rates of the task, and those that mean is tried at since it learns best at the highest."""


def planned(**asked: Any) -> tuple[Cell, ...]:
    request = Request(
        **{
            "variants": ["mean", "none"],
            "profile": get_profile("quick"),
            "tasks": ["searched"],
            "include": (TASK,),
            "rates": True,
            **asked,
        }
    )
    return plan(request, discover_variants(), discover_tasks((TASK,))).cells


def stored(store: Path) -> dict[tuple[float, int], Record]:
    records, problems = RecordStore(store).load()
    assert not problems
    return {(rate_of(one), one.seed): one for one in records}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which mean has been searched and has its seeds."""
    folder = tmp_path_factory.mktemp("searched")
    said = cab_here("run", *WHAT, *HOW, "--store", folder)
    assert said.code == 0, said.err
    return folder


def test_all_rates_are_planned_with_the_first_seed_and_none_counts_as_a_change() -> None:
    cells = planned()
    assert [(c.variant.name, c.recipe.train.learning_rate, c.seed) for c in cells] == [
        (name, rate, 0) for name in ("mean", "none") for rate in RATES
    ]
    assert not any(cell.changed for cell in cells)
    assert len({cell.key for cell in cells}) == 6
    assert len({group_of(cell) for cell in cells}) == 2


def test_a_rate_that_is_set_is_run_alone_and_one_of_the_task_is_no_change() -> None:
    (own,) = planned(variants=["mean"], options={"train.learning_rate": "0.05"})
    assert (own.recipe.train.learning_rate, own.changed) == (0.05, {})
    assert own.key in {cell.key for cell in planned()}
    (other,) = planned(variants=["mean"], options={"train.learning_rate": "0.5"})
    assert other.changed == {"train.learning_rate": 0.5}


def test_a_run_adds_two_seeds_at_the_rate_that_validation_chose(searched: Path) -> None:
    records = stored(searched)
    rate = chosen_rate(list(records.values()))
    assert set(records) == {*((each, 0) for each in TRIED), (rate, 1), (rate, 2)}
    valid = {each: records[each, 0].metrics.valid["accuracy"] for each in TRIED}
    best = max(valid.values(), key=lambda one: one.value)
    assert valid[rate].value >= best.value - best.standard_error
    assert valid[RATES[-1]].value > valid[RATES[1]].value + valid[RATES[-1]].standard_error


def test_records_hold_each_level_and_the_mean_over_them(searched: Path) -> None:
    for record in stored(searched).values():
        levels = record.metrics.levels
        assert [(one.level, one.name) for one in levels] == [(1, "length 2"), (2, "length 4")]
        assert [(one.valid.n, one.test.n) for one in levels] == [(3, 5), (3, 5)]
        mean = sum(one.test.value for one in levels) / 2
        assert record.metrics.test["accuracy"].value == pytest.approx(mean)
        assert record.metrics.test["accuracy"].n == 10


def test_the_same_run_again_does_nothing_and_lists_all_cells(searched: Path) -> None:
    said = cab_here("run", *WHAT, *HOW, "--store", searched)
    assert [one["state"] for one in said.document["cells"]] == ["already done"] * 7


def test_one_seed_is_a_search_alone_and_four_seeds_add_to_it(
    searched: Path, tmp_path: Path
) -> None:
    said = cab_here("run", *WHAT, *HOW, "--store", tmp_path, "--seeds", 1)
    assert [one["rate"] for one in said.document["cells"]] == list(TRIED)
    more = cab_here("run", *WHAT, *HOW, "--store", tmp_path, "--seeds", 4).document["cells"]
    assert [one["state"] for one in more] == ["already done"] * 5 + ["ran"] * 3
    assert {(one["rate"], one["seed"]) for one in more[:7]} == set(stored(searched))


def test_a_dry_run_says_what_follows(tmp_path: Path, searched: Path) -> None:
    run = ("run", *WHAT, *HOW[:-1], "--dry-run", "--store")
    said = cab_here(*run, tmp_path)
    assert "Then 2 more seeds at the chosen learning rate of each of 1 entry-task pair" in said.err
    assert cab_here(*run, tmp_path, "--json").document["following"] == 2
    assert cab_here(*run, searched, "--json").document["following"] == 0
    assert len(cab_here(*run, searched, "--json").document["cells"]) == 7


def test_nothing_follows_a_rate_that_is_set_by_hand(tmp_path: Path, searched: Path) -> None:
    one = ("run", *WHAT, *HOW, "--dry-run", "--set", "train.learning_rate=0.05", "--store")
    for store in (tmp_path, searched):
        said = cab_here(*one, store)
        assert said.document["following"] == 0
        assert "more seeds" not in said.err


def test_a_search_is_decided_once_by_its_last_record_in_any_order(searched: Path) -> None:
    records = {one.key: one for one in stored(searched).values()}
    cells = [cell for cell in planned() if cell.variant.name == "mean"]
    if cells[0].key not in records:  # the records were made without the check of the laws
        cells = [cell for cell in planned(unchecked=True) if cell.variant.name == "mean"]
    for order in (cells, cells[::-1], [cells[1], cells[0], cells[2]]):
        search = Search()
        found = [search.follow(cell, records[cell.key]) for cell in order]
        assert [[one.recipe.train.learning_rate for one in more] for more in found] == [
            [],
            [],
            [0.1],
        ]
        ((further,), (last,)) = found[-1], search.follow(found[-1][0], records[found[-1][0].key])
        assert (further.recipe.train.learning_rate, last.recipe.train.learning_rate) == (0.1, 0.2)
        assert search.open([*cells, further, last]) == 1
        seeds = search.follow(last, records[last.key])
        assert [cell.seed for cell in seeds] == [1, 2]
        assert {cell.key for cell in (further, last, *seeds)} <= records.keys()
        assert not search.follow(order[0], records[order[0].key])
        assert search.open([*cells, further, last]) == 0


def test_a_shard_holds_whole_searches() -> None:
    cells = planned()
    parts = [Shard(number, 2).of(cells) for number in (1, 2)]
    assert sorted(len(part) for part in parts) == [3, 3]
    assert all(len({group_of(cell) for cell in part}) == 1 for part in parts)


@EVERY_EXECUTOR
def test_every_executor_gives_the_records_of_a_run(
    where: tuple[Any, ...], searched: Path, tmp_path: Path
) -> None:
    said = sweep_on(where, *WHAT, *HOW, "--store", tmp_path, cwd=tmp_path)
    assert said.code == 0, said.err
    found = stored(tmp_path)
    assert len(said.document["cells"]) == 7
    assert {key: one.metrics for key, one in found.items()} == {
        key: one.metrics for key, one in stored(searched).items()
    }
