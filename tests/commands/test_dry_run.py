"""What `--dry-run` says of data, sizes and times, and `cab` of profiles without certificates."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from cli_support import MQAR, cab_here, make_record
from support import HELPERS, REPOSITORY
from sweep_support import TASK

from cab.analysis.certificates import certificate_path
from cab.records.certificates import read_certificate
from cab.records.folders import ResultsFolders
from cab.records.store import RecordStore, TaskInfo
from cab.registry import discover_tasks, discover_variants
from cab.running.estimates import OPERATIONS, STEP
from cab.running.facts import count_parameters, count_training_flops
from cab.running.fitting import slots_of
from cab.task import Task

TASKS = discover_tasks()
SOFTMAX = discover_variants().load("softmax")
RUN = ("run", "--variant", "linear", "--dry-run")


def planned(store: Path, *more: object, **changes: str) -> dict[str, Any]:
    """The document of a dry run with the published results of this clone."""
    changes = {"CAB_RESULTS": str(REPOSITORY / "results"), **changes}
    said = cab_here(*RUN, *more, "--store", store, "--json", **changes)
    assert said.code == 0, said.err
    return said.document


def test_a_published_recipe_has_the_sizes_and_the_mean_time_of_its_records(tmp_path: Path) -> None:
    document = planned(tmp_path, "--task", "mqar")
    (line,) = document["tasks"]
    records = [
        one
        for one in ResultsFolders(REPOSITORY / "results").read("quick").records
        if (one.variant.name, one.task.name, one.status) == ("softmax", "mqar", "ok")
    ]
    assert line["basis"] == "published"
    assert line["tokens"] == records[0].cost.tokens
    assert line["operations"] == records[0].cost.flops
    assert line["seconds"] == pytest.approx(fmean(one.cost.total_seconds for one in records))
    assert line["cells"] == 5  # three rates, two more seeds
    assert document["hours"] == pytest.approx(5 * line["seconds"] / 3600)


def test_another_recipe_is_counted_without_computing_anything(tmp_path: Path) -> None:
    (line,) = planned(tmp_path, "--task", "mqar", "--set", "train.steps=50")["tasks"]
    loaded = TASKS.load("mqar")
    assert issubclass(loaded, Task)
    recipe = loaded.recipes["quick"]
    task = loaded(replace(recipe, train=replace(recipe.train, steps=50)))
    model = task.build(slots_of(task, SOFTMAX))
    assert line["basis"] == "counted"
    assert line["parameters"] == count_parameters([model])
    assert line["operations"] == count_training_flops(task, model)
    assert line["seconds"] == max(line["operations"] / OPERATIONS, 50 * STEP)


def test_a_standard_row_names_missing_data_and_what_fetches_it(tmp_path: Path) -> None:
    tasks = ("--task", "transcribe", "--task", "sort")
    here = (*tasks, "--profile", "standard", "--data-dir", tmp_path / "data")
    document = planned(tmp_path, *here)
    by_task = {line["task"]: line for line in document["tasks"]}
    missing = by_task["transcribe"]
    assert missing["missing"] == ["fsdd"]
    assert missing["parameters"] > 100_000
    assert (missing["tokens"], missing["hours"]) == (None, None)
    assert by_task["sort"]["hours"] > 0.1
    (sentence,) = document["missing_data"]
    assert "Run `cab data fetch fsdd`" in sentence
    said = cab_here(*RUN, *here, "--store", tmp_path)
    assert "Run `cab data fetch fsdd`" in said.err
    assert "fsdd is missing" in said.out
    assert "10 cells to run, about" in said.err
    assert "estimated from the counted operations of training with softmax" in said.err
    assert "The time of transcribe is not known." in said.err


def test_cells_that_are_done_take_no_more_time(tmp_path: Path) -> None:
    first = planned(tmp_path, "--task", "mqar", "--seeds", 1, "--set", "train.learning_rate=0.005")
    (cell,) = first["cells"]
    assert first["tasks"][0]["cells"] == 1
    RecordStore(tmp_path).write(make_record(cell["key"], variant="linear"))
    after = planned(tmp_path, "--task", "mqar", "--seeds", 1, "--set", "train.learning_rate=0.005")
    assert after["tasks"][0]["cells"] == 0
    assert after["hours"] == 0


def test_a_task_that_cannot_be_counted_is_said_to_be_unknown(tmp_path: Path) -> None:
    own = tmp_path / "trivial.py"
    looks = "assert batch['inputs'].sum().item()"
    returns = 'return {"error": ('
    own.write_text(TASK.replace(returns, f"{looks}\n        {returns}"))
    more = ("--task", "trivial", "--profile", "smoke", "--include", own)
    (line,) = planned(tmp_path, *more)["tasks"]
    assert (line["operations"], line["hours"], line["basis"]) == (None, None, "")
    assert line["parameters"] > 0
    said = cab_here(*RUN, *more, "--store", tmp_path)
    assert "1 cell to run. The time of trivial is not known." in said.err


def test_profiles_say_what_is_certified_and_published_in_them() -> None:
    results = {"CAB_RESULTS": str(REPOSITORY / "results")}
    document = cab_here("list", "profiles", "--json", **results).document
    found = {one["name"]: one for one in document}
    assert (found["quick"]["certified"], found["quick"]["to_certify"]) == (22, 22)
    assert found["quick"]["published"] == len([*(REPOSITORY / "results/quick").glob("*.jsonl")])
    assert (found["standard"]["certified"], found["standard"]["to_certify"]) == (0, 22)
    assert (found["full"]["certified"], found["full"]["published"]) == (0, 0)
    table = " ".join(cab_here("list", "profiles", COLUMNS="250", **results).out.split())
    assert "smoke never" in table
    assert "quick 22 of 22 tasks" in table
    assert "standard not yet: none of 22 tasks is certified nothing" in table
    assert "full not yet: no task is certified nothing" in table
    assert "0 of 22 tasks" in cab_here("info", "standard").out


def test_a_result_in_a_profile_without_certificate_has_no_score_and_says_why(
    tmp_path: Path,
) -> None:
    info = TaskInfo(
        name="mqar",
        version=MQAR.version,
        profile="standard",
        pattern="cs",
        domain="retrieval",
        metric="accuracy",
        higher_is_better=True,
    )
    RecordStore(tmp_path).write(make_record().model_copy(update={"task": info}))
    shown = cab_here("show", "--profile", "standard", "--store", tmp_path)
    assert "not certified" in shown.out
    (row,) = cab_here("show", "--profile", "standard", "--store", tmp_path, "--json").document[
        "rows"
    ]
    assert (row["scored"], row["to_certify"], row["score"]) == (False, True, None)
    said = cab_here("leaderboard", "--profile", "standard", "--store", tmp_path)
    assert "No task is certified in profile standard" in said.err
    said = cab_here("leaderboard", "--profile", "full", "--store", tmp_path)
    assert said.code == 2
    assert "No task is certified in profile full, so no result has a score there." in said.err


def test_one_command_measures_a_certificate_in_standard(tmp_path: Path) -> None:
    own = tmp_path / "searched.py"
    text = (HELPERS / "searched_task.py").read_text()
    own.write_text(text.replace('"quick": Recipe', '"standard": Recipe'))
    said = cab_here(
        *("certify", "searched", "--profile", "standard", "--seeds", 2, "--device", "cpu"),
        *("--include", own, "--store", tmp_path / "store", "--out", tmp_path / "out", "--json"),
    )
    path = certificate_path(tmp_path / "out", "searched", "standard")
    assert [one["path"] for one in said.document] == [str(path)], said.err
    content = read_certificate(path)
    assert (content["profile"], content["seeds"]) == ("standard", 2)
    assert len(content["levels"]) == len(content["floors"]) == 2
    assert {"softmax", "none", "mean"} <= content["rates"].keys()
    assert all(len(one["valid"]) >= 3 for one in content["rates"].values())
