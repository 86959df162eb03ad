"""`cab reliability`: what it finds in a store, in words, in JSON and in its exit code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab_here
from made_records import made

from cab.records.store import RecordStore

ENTRIES = {"softmax": 0.93, "linear": 0.9, "performer": 0.86}
TASKS = ("mqar-cross", "regress")


def store_of(folder: Path, scatter: float = 0.01, **fields: Any) -> Path:
    """A store of three entries on two tasks, in one order."""
    store = RecordStore(folder)
    for name, value in ENTRIES.items():
        for task in TASKS:
            values = (value - scatter, value, value + scatter)
            for record in made(name, task, values, **fields):
                store.write(record)
    return folder


def asked(*more: object, names: Sequence[str] = tuple(ENTRIES)) -> tuple[object, ...]:
    return ("reliability", "--variant", ",".join(names), *more)


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder without published results."""
    (tmp_path / "results" / "quick").mkdir(parents=True)
    return tmp_path / "results"


def findings(said: Any) -> dict[str, Any]:
    return {one["name"]: one for one in said.document["findings"]}


def test_conditions_that_fail_are_named_and_exit_with_1(tmp_path: Path, nowhere: Path) -> None:
    store = store_of(tmp_path / "store", scatter=0.06)
    told = asked("--results", nowhere, "--store", store)
    found = findings(cab_here(*told, "--json"))
    assert found["deviation over seeds of at most 0.06"]["holds"] is False
    assert found["range over seeds above 0.3"]["holds"] is False
    said = cab_here(*told)
    assert said.code == 1
    assert "FAILS" in said.out
    assert "linear on regress" in " ".join(said.out.split())


def test_conditions_that_hold_or_are_not_decided_exit_with_0(
    tmp_path: Path, nowhere: Path
) -> None:
    store = store_of(tmp_path / "store", scatter=0.001)
    said = cab_here(*asked("--results", nowhere, "--store", store, "--json"))
    found = findings(said)
    assert said.code == 0
    assert not [name for name, one in found.items() if one["holds"] is False]
    assert found["entries above the ceiling"]["holds"] is True
    assert found["order in nc after 4 times the steps"]["holds"] is None
    assert said.document["components"]["nc"]["entries"] == 3


def test_the_order_after_longer_training_is_read_from_a_store(
    tmp_path: Path, nowhere: Path
) -> None:
    store = store_of(tmp_path / "store")
    longer = store_of(tmp_path / "longer", changed={"train.steps": 4000})
    told = asked("--results", nowhere, "--store", store, "--longer", longer, "--json")
    found = findings(cab_here(*told))["order in nc after 4 times the steps"]
    assert (found["holds"], found["found"]) == (True, "1.00 (3 entries)")


def test_without_results_it_says_what_to_run(tmp_path: Path, nowhere: Path) -> None:
    said = cab_here(*asked("--results", nowhere, names=("linear", "gla")))
    assert said.code == 2
    assert "Run them first: cab sweep --variant linear,gla" in " ".join(said.err.split())


def test_an_unknown_name_is_refused(nowhere: Path) -> None:
    said = cab_here(*asked("--results", nowhere, names=("linaer",)))
    assert said.code == 2
    assert "Did you mean linear" in said.err
