"""What verification says of learning rates that were not chosen, and of seeds that were."""

from pathlib import Path

import pytest
from cli_support import cab_here
from support import HELPERS

from cab.publishing.recount import Recount
from cab.publishing.seeds import file_findings, seed_problems
from cab.publishing.soundness import Soundness
from cab.records.rates import chosen_rate, rate_of
from cab.records.results import for_publication
from cab.records.store import Record, RecordStore
from cab.registry import discover_tasks, discover_variants
from cab.running.replanning import cell_of

TASK = HELPERS / "searched_task.py"
VARIANTS, TASKS = discover_variants(), discover_tasks((TASK,))
WHAT = ("--variant", "linear", "--task", "searched", "--include", TASK, "--tracking", "none")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The records of an entry that learns best at the highest rate: five rates, two more seeds."""
    folder = tmp_path_factory.mktemp("searched")
    said = cab_here("run", *WHAT, "--store", folder)
    assert said.code == 0, said.err
    records, _ = RecordStore(folder).load()
    return records


def findings(records: list[Record]) -> list[str]:
    return [text for _, text in file_findings(records, VARIANTS.card("linear"), TASKS)]


def test_a_whole_search_is_in_order(searched: list[Record]) -> None:
    assert len(searched) == 7
    assert findings(searched) == []
    assert list(seed_problems(searched)) == []


def test_every_record_of_a_search_is_planned_anew_with_its_key(searched: list[Record]) -> None:
    for record in searched:
        cell = cell_of(record, VARIANTS, TASKS, (TASK,))
        assert cell.key == record.key
        assert cell.recipe.train.learning_rate == rate_of(record)


def test_the_levels_of_a_record_are_checked(searched: list[Record], tmp_path: Path) -> None:
    from cab.publishing.levels import level_problems

    record = searched[0]
    cell = cell_of(record, VARIANTS, TASKS, (TASK,))
    assert list(level_problems(record, cell)) == []
    first, last = record.metrics.levels

    def problems(**changes: object) -> str:
        metrics = record.metrics.model_copy(update=changes)
        return " ".join(level_problems(record.model_copy(update={"metrics": metrics}), cell))

    assert "its levels are not the 2 of the task" in problems(levels=(first,))
    renamed = first.model_copy(update={"name": "length 3"})
    assert "its levels are not the 2 of the task" in problems(levels=(renamed, last))
    better = last.test.model_copy(update={"value": 1.0, "standard_error": 0.0})
    raised = last.model_copy(update={"test": better})
    assert "test accuracy is not the mean of its levels" in problems(levels=(first, raised))
    more = first.model_copy(update={"valid": first.valid.model_copy(update={"n": 4})})
    assert "valid accuracy at level 1 is of 4 examples; the recipe has 3" in problems(
        levels=(more, last)
    )
    beyond = first.model_copy(update={"test": first.test.model_copy(update={"value": 1.2})})
    assert "test accuracy at level 1 is 1.2, outside [0, 1]" in problems(levels=(beyond, last))


def test_a_rate_that_was_not_tried_is_named(searched: list[Record]) -> None:
    rate = next(rate_of(one) for one in searched if rate_of(one) != chosen_rate(searched))
    (text, *_) = findings([one for one in searched if rate_of(one) != rate])
    assert f"no result on searched at the learning rates {rate:g}, so none is chosen" in text


def test_seeds_at_a_rate_that_validation_does_not_choose_are_an_error(
    searched: list[Record],
) -> None:
    other = next(one for one in searched if rate_of(one) != chosen_rate(searched))
    seeds = [other.model_copy(update={"seed": seed, "key": f"{seed:032x}"}) for seed in (1, 2)]
    texts = " ".join(findings([*searched, *seeds]))
    assert f"has further seeds on searched at {rate_of(other):g}" in texts


def test_a_seed_that_is_left_out_at_the_chosen_rate_is_an_error(searched: list[Record]) -> None:
    (text,) = seed_problems([one for one in searched if one.seed != 1])
    assert "the seeds of linear on searched are 0, 2, not 0 to 1" in text


def test_soundness_reads_records_of_a_search(searched: list[Record]) -> None:
    sound = Soundness([], ("softmax", "none"), Recount(VARIANTS, TASKS, Path("/nowhere")))
    for record in map(for_publication, searched):
        cell = cell_of(record, VARIANTS, TASKS, (TASK,))
        errors = [text for kind, text in sound.record(record, cell) if kind == "error"]
        assert errors == []


def test_a_model_is_built_once_for_all_rates_and_seeds(
    searched: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = Recount._build
    monkeypatch.setattr(Recount, "_build", lambda self, cell: built.append(1) or build(self, cell))
    recount = Recount(VARIANTS, TASKS, Path("/nowhere"))
    facts = {recount.model(cell_of(one, VARIANTS, TASKS)) for one in searched}
    assert (len(searched), len(built), len(facts)) == (7, 1, 1)
