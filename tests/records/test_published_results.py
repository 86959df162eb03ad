"""What `results/` shows is of the variants, tasks and recipes that are here."""

from pathlib import Path

import pytest
from support import REPOSITORY

from cab.data import data_directory
from cab.publishing.recount import Recount
from cab.publishing.validation import validate
from cab.records.results import read_results
from cab.registry import discover_tasks, discover_variants

VARIANTS, TASKS = discover_variants(), discover_tasks()
FILES = sorted((REPOSITORY / "results" / "quick").glob("*.jsonl"))
PUBLISHED, _, PROBLEMS = read_results(REPOSITORY / "results", "quick")
RECOUNT = Recount(VARIANTS, TASKS, data_directory())


def test_every_published_file_can_be_read() -> None:
    assert PROBLEMS == []


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])
def test_published_records_are_those_of_the_source_that_is_here_and_pass_all_checks(
    path: Path,
) -> None:
    # Who changes a mechanism, or code that it uses, publishes it anew or takes its file away.
    problems = validate(path, VARIANTS, TASKS, PUBLISHED, (), RECOUNT)
    assert [one for one in problems if one.severity == "error"] == []
