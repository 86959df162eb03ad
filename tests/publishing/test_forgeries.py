"""Published files that were edited: what no run can have given is refused without a rerun."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab_here
from support import REPOSITORY

from cab.data import data_directory
from cab.publishing.problems import Problem
from cab.publishing.recount import Recount
from cab.publishing.validation import trace, validate
from cab.records.results import read_results
from cab.registry import discover_tasks, discover_variants

QUICK = REPOSITORY / "results" / "quick"
VARIANTS, TASKS = discover_variants(), discover_tasks()
RECOUNT = Recount(VARIANTS, TASKS, data_directory())

Line = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of results with the published references, window and linear."""
    quick = tmp_path / "results" / "quick"
    quick.mkdir(parents=True)
    for name in ("softmax", "none", "mean", "window", "linear"):
        shutil.copy(QUICK / f"{name}.jsonl", quick)
    return quick


def lines_of(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, lines: list[Line]) -> None:
    lines = sorted(lines, key=lambda one: one["key"])
    text = [
        json.dumps(one, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for one in lines
    ]
    path.write_text("".join(line + "\n" for line in text), encoding="utf-8")


def check(path: Path) -> list[Problem]:
    published, reruns, _ = read_results(path.parent.parent, "quick")
    found = validate(path, VARIANTS, TASKS, published, (), RECOUNT)
    return found + trace(path, VARIANTS, reruns)


def said(path: Path, severity: str) -> list[str]:
    return [one.message for one in check(path) if one.severity == severity]


def cell(lines: list[Line], task: str, seed: int) -> Line:
    """The record of a seed at the learning rate that was chosen, at which there are more seeds."""
    own = [one for one in lines if one["task"]["name"] == task]
    rates = {one["settings"]["recipe"]["train"]["learning_rate"] for one in own if one["seed"]}
    (found,) = (
        one
        for one in own
        if one["seed"] == seed and one["settings"]["recipe"]["train"]["learning_rate"] in rates
    )
    return found


def edited(folder: Path, task: str, edit: Callable[[Line], Any], name: str = "window") -> Path:
    """The file of a variant, with seed 0 on a task edited."""
    path = folder / f"{name}.jsonl"
    lines = lines_of(path)
    edit(cell(lines, task, 0))
    write(path, lines)
    return path


def test_untouched_copies_have_no_error(folder: Path) -> None:
    assert said(folder / "window.jsonl", "error") == []
    assert said(folder / "linear.jsonl", "error") == []


def boast(line: Line, value: float, *, consistent: bool) -> None:
    metric = line["task"]["metric"]
    line["metrics"]["test"][metric]["value"] = value
    if consistent:
        line["metrics"]["valid"][metric]["value"] = value
        line["curve"][-1]["valid"][metric] = value


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("value", [0.97, 1.0])
def test_an_accuracy_that_the_loss_does_not_allow(
    value: float, seeds: tuple[int, ...], consistent: bool, folder: Path
) -> None:
    path = folder / "window.jsonl"
    lines = lines_of(path)
    for seed in seeds:
        boast(cell(lines, "mqar", seed), value, consistent=consistent)
    write(path, lines)
    errors = said(path, "error")
    assert sum("training ends at a loss of" in text for text in errors) >= len(seeds)


def test_an_r2_that_the_loss_does_not_allow(folder: Path) -> None:
    path = edited(folder, "regress", lambda d: boast(d, 0.2, consistent=True), "linear")
    assert any("they add up to 1" in text for text in said(path, "error"))


Edit = Callable[[Line], Any]


def estimate(split: str, **fields: Any) -> Edit:
    return lambda d: d["metrics"][split]["accuracy"].update(fields)


def at_level(place: int, **fields: Any) -> Edit:
    return lambda d: d["metrics"]["levels"][place]["test"].update(fields)


def cost(**fields: Any) -> Edit:
    return lambda d: d["cost"].update(fields)


def evaluation(line: Line) -> None:
    line["evaluations"] = [
        {
            "harness": "lm-eval", "harness_version": "1", "task": "mmlu", "task_version": "1",
            "metric": "acc", "higher_is_better": True, "value": 1.0, "standard_error": 0.0,
            "n": 100, "settings": {},
        }
    ]  # fmt: skip


FORGERIES: dict[str, tuple[Edit, str]] = {
    "accuracy 1.05": (estimate("test", value=1.05), "outside [0, 1]"),
    "accuracy 99": (estimate("test", value=99.0), "outside [0, 1]"),
    "accuracy -0.1": (estimate("valid", value=-0.1), "outside [0, 1]"),
    "standard error 1e308": (
        estimate("test", standard_error=1e308),
        "test.accuracy.standard_error: ",
    ),
    "standard error .05": (estimate("test", standard_error=0.05), "have at most"),
    "standard error 1e-9": (
        estimate("test", standard_error=1e-9),
        "is not the mean of its levels",
    ),
    "standard error 1e-9 at a level": (at_level(-1, standard_error=1e-9), "have at least"),
    "standard error 0 at a level": (
        at_level(-1, value=0.0303, standard_error=0.0),
        "no example of up to",
    ),
    "a better level": (at_level(-1, value=0.9), "is not the mean of its levels"),
    "n of a level": (at_level(0, n=7), "at level 1 is of 7 examples; the recipe has 200"),
    "a level left out": (
        lambda d: d["metrics"].update(levels=d["metrics"]["levels"][1:]),
        "the levels are not counted from 1",
    ),
    "the last level left out": (
        lambda d: d["metrics"].update(levels=d["metrics"]["levels"][:-1]),
        "its levels are not the 5 of the task",
    ),
    "a shortcut at a level": (
        lambda d: d["metrics"]["levels"][0]["shortcuts"]["last value"].update(value=0.1),
        "shortcut last value at level 1 is 0.1",
    ),
    "standard error 0": (
        estimate("test", value=0.0303, standard_error=0.0),
        "is not the mean of its levels",
    ),
    "n of the test": (estimate("test", n=10**6), "the recipe has 1000"),
    "n of validation": (estimate("valid", n=5), "the recipe has 1000"),
    "another validation": (estimate("valid", value=0.031), "not those at the end of its curve"),
    "test without validation": (
        lambda d: d["metrics"].update(valid={}),
        "do not have the same metrics",
    ),
    "no metric of the task": (
        lambda d: d["metrics"].update(
            {split: {"exact": d["metrics"][split]["accuracy"]} for split in ("valid", "test")}
        ),
        "the test metrics lack accuracy",
    ),
    "a further metric": (
        lambda d: d["metrics"]["test"].update(glory=d["metrics"]["test"]["accuracy"]),
        "do not have the same metrics",
    ),
    "a curve point's accuracy": (
        lambda d: next(p for p in d["curve"] if p["valid"])["valid"].update(accuracy=1.5),
        "at step 500 is 1.5",
    ),
    "a curve of one point": (lambda d: d.update(curve=d["curve"][-1:]), "its curve is not at"),
    "no curve": (lambda d: d.update(curve=[]), "its curve is not at"),
    "parameters 10": (lambda d: d["variant"].update(parameters=10), "its parameters are 10"),
    "parameters -1": (lambda d: d["variant"].update(parameters=-1), "variant.parameters: "),
    "parameters 0": (lambda d: d["variant"].update(parameters=0), "its parameters are 0"),
    "no parameters": (lambda d: d["variant"].update(parameters=None), "its parameters are None"),
    "backbone": (cost(backbone_parameters=1), "its backbone_parameters are 1"),
    "fingerprint f": (
        lambda d: d["task"].update(data_fingerprint="f" * 64),
        "that of the task's examples is",
    ),
    "fingerprint 0": (
        lambda d: d["task"].update(data_fingerprint="0" * 64),
        "different data on one processor",
    ),
    "no fingerprint": (
        lambda d: d["task"].update(data_fingerprint=None),
        "it has no data_fingerprint",
    ),
    "flops 0": (cost(flops=0), "its flops are 0"),
    "flops -5": (cost(flops=-5), "cost.flops: "),
    "half the flops": (
        lambda d: d["cost"].update(flops=d["cost"]["flops"] // 2),
        "the model that is built here has",
    ),
    "peak bytes 10**18": (cost(peak_bytes=10**18), "twice the limit of memory"),
    "peak bytes 1000": (cost(peak_bytes=1000), "do not hold its"),
    "peak bytes 0": (cost(peak_bytes=0), "its peak_bytes is 0"),
    "one step": (cost(steps=1), "it took 1 steps; the recipe has 1000"),
    "a millisecond": (cost(seconds=0.001), "operations take more than"),
    "no seconds": (cost(seconds=0.0), "operations take more than"),
    "seconds missing": (cost(seconds=None), "it lacks the costs seconds"),
    "negative seconds": (cost(seconds=-1.0), "cost.seconds: "),
    "more waiting than training": (cost(data_seconds=1e6), "it waited 1e+06 s for data in"),
    "a short whole": (cost(total_seconds=1.0), "and all of it 1 s"),
    "a long whole": (cost(total_seconds=1e6), "longer than from its start to its end"),
    "tokens": (cost(tokens=7), "it read 7 tokens; the references of its seed read"),
    "year 9999": (
        lambda d: d["provenance"].update(ended="9999-01-01T00:00:00Z"),
        "provenance.ended: its year is not in 1970 to 2199",
    ),
    "year 2150": (
        lambda d: d["provenance"].update(ended="2150-01-01T00:00:00Z"),
        "it ended in the future",
    ),
    "a shortcut's name": (
        lambda d: d["shortcuts"].update({"psychic": d["shortcuts"]["last value"]}),
        "its shortcuts are last value, psychic; the task has last value",
    ),
    "a shortcut's value": (
        lambda d: d["shortcuts"]["last value"].update(value=0.5),
        "shortcut last value is 0.5",
    ),
    "no shortcuts": (lambda d: d.update(shortcuts={}), "its shortcuts are none"),
    "evaluations": (evaluation, "it holds evaluations of the trained weights"),
    "a message": (lambda d: d.update(message="best ever"), "has a message all the same"),
    "a length's value": (
        lambda d: d["metrics"]["lengths"][0]["estimate"].update(value=1.2),
        "out of range",
    ),
    "a length's tokens": (
        lambda d: d["metrics"]["lengths"][0].update(length=10**6),
        "it has 1000000 tokens; the task has 32",
    ),
    "another result at the training length": (
        lambda d: d["metrics"]["lengths"][2]["estimate"].update(value=0.9, standard_error=0.001),
        "another result than on the test",
    ),
    "no lengths": (
        lambda d: d["metrics"].update(lengths=[]),
        "lacks the results at other lengths",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_an_impossible_field_is_an_error(name: str, folder: Path) -> None:
    edit, words = FORGERIES[name]
    errors = said(edited(folder, "mqar", edit), "error")
    assert any(words in text for text in errors), errors


def test_a_test_that_is_far_from_validation(folder: Path) -> None:
    def edit(line: Line) -> None:
        line["metrics"]["test"]["accuracy"]["value"] = 0.6

    path = edited(folder, "mqar", edit, "linear")
    assert any("too far apart" in text for text in said(path, "error"))


def test_lengths_of_a_task_that_has_none(folder: Path) -> None:
    def edit(line: Line) -> None:
        point = {"factor": 2.0, "length": 384, "estimate": line["metrics"]["test"]["accuracy"]}
        line["metrics"]["lengths"] = [{"status": "ok", "message": "", "positions": [], **point}]

    path = edited(folder, "mqar-cross", edit, "linear")
    assert any("lengths that the task does not have" in text for text in said(path, "error"))


@pytest.mark.parametrize("kind", ["seed and key", "noise", "noise on another task"])
def test_a_copied_seed(kind: str, folder: Path) -> None:
    task = "mqar-cross" if kind == "noise on another task" else "mqar"
    path = folder / "linear.jsonl"
    lines = lines_of(path)
    one, two = cell(lines, task, 1), copy.deepcopy(cell(lines, task, 2))
    lines.remove(one)
    two["seed"], two["key"] = 1, one["key"]
    if "noise" in kind:
        for point in two["curve"]:
            point["loss"] += 1e-5
    write(path, [*lines, two])
    errors = said(path, "error")
    assert any(f"of linear on {task} trained alike" in text for text in errors), errors


def test_a_copied_key_is_still_refused(folder: Path) -> None:
    path = folder / "window.jsonl"
    lines = lines_of(path)
    twin = copy.deepcopy(cell(lines, "mqar", 2))
    twin["seed"] = 1
    lines.remove(cell(lines, "mqar", 1))
    write(path, [*lines, twin])
    assert any("not sorted by key, each key once" in text for text in said(path, "error"))


def test_one_cell_under_two_keys(folder: Path) -> None:
    path = folder / "window.jsonl"
    lines = lines_of(path)
    twin = copy.deepcopy(cell(lines, "mqar", 2))
    twin["key"] = "0" * 32
    write(path, [*lines, twin])
    assert said(path, "error")


def test_a_seed_that_failed_is_to_be_looked_at_and_has_no_results(folder: Path) -> None:
    path = folder / "window.jsonl"

    def failed(**more: Any) -> None:
        lines = lines_of(path)
        line = cell(lines, "mqar", 1)
        line.update(status="timeout", message="too slow", shortcuts={}, curve=[])
        line["metrics"] = {"valid": {}, "test": {}, "lengths": [], **more}
        write(path, lines)

    failed()
    assert said(path, "error") == []
    looks = said(path, "look")
    assert "seed 1 on mqar ended as timeout: too slow" in looks
    assert "window has 2 seeds on mqar that ended well; a rank needs 3" in looks
    point = {"factor": 1.0, "length": 1, "status": "oom", "message": "", "estimate": None}
    failed(lengths=[{**point, "positions": []}])
    assert "it ended as timeout and has results all the same" in said(path, "error")


def test_a_task_that_was_left_out_is_to_be_looked_at(folder: Path) -> None:
    path = folder / "linear.jsonl"
    write(path, [one for one in lines_of(path) if one["task"]["name"] != "regress"])
    assert said(path, "error") == []
    (text,) = (one for one in said(path, "look") if "of the 5 scored tasks of nc" in one)
    assert "regress" in text
    assert "mqar-cross" not in text


def test_two_seeds_alone_are_to_be_looked_at(folder: Path) -> None:
    path = folder / "window.jsonl"
    two = [one for one in lines_of(path) if one["seed"] < 2]
    write(path, two)
    assert said(path, "error") == []
    warned = sum("a rank needs 3" in text for text in said(path, "look"))
    assert warned == len({one["task"]["name"] for one in two})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"git_revision": None, "git_dirty": None}, "its commit is not recorded"),
        ({"git_dirty": True}, "its tree had changes that are in no commit"),
    ],
)
def test_code_that_is_in_no_commit_is_to_be_looked_at(
    fields: Line, words: str, folder: Path
) -> None:
    path = edited(folder, "mqar", lambda d: d["provenance"].update(fields))
    assert said(path, "error") == []
    assert any(words in text for text in said(path, "look"))


def test_data_of_a_processor_that_no_reference_ran_on_is_to_be_looked_at(folder: Path) -> None:
    path = folder / "linear.jsonl"
    assert not any("from elsewhere" in text for text in said(path, "look"))
    lines = lines_of(path)
    for line in (one for one in lines if one["task"]["name"] == "regress"):
        line["environment"]["cpu"] = "a processor of its own"
        line["task"]["data_fingerprint"] = "e" * 64
    write(path, lines)
    (look,) = (text for text in said(path, "look") if "from elsewhere" in text)
    assert "regress" in look
    assert "mqar" not in look
    (mqar,) = {one["environment"]["cpu"] for one in lines if one["task"]["name"] == "mqar"}
    for line in lines:
        line["environment"]["cpu"] = mqar
    write(path, lines)
    assert any("not that of the published references" in text for text in said(path, "error"))


def test_without_the_data_what_needs_it_is_said_to_be_unchecked(
    folder: Path, tmp_path: Path
) -> None:
    path = folder / "none.jsonl"
    published, _, _ = read_results(folder.parent, "quick")
    found = validate(
        path, VARIANTS, TASKS, published, (), Recount(VARIANTS, TASKS, tmp_path / "empty")
    )
    looks = [one.message for one in found if one.severity == "look"]
    assert any("on transcribe are unchecked" in text for text in looks)
    assert not any("on mqar are unchecked" in text for text in looks)
    assert not any("unchecked" in one.message for one in found if one.severity == "error")


def test_the_command_refuses_a_forgery_and_runs_nothing(folder: Path) -> None:
    path = edited(folder, "mqar", estimate("test", value=1.05))
    done = cab_here("verify", path, "--sample", "0")
    assert done.code == 1
    assert "test accuracy is 1.05, outside [0, 1]" in done.out
    assert "errors, " in done.out
