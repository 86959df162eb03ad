"""Which results are read and written, in a checkout of CAB, elsewhere, and as they are named."""

from pathlib import Path

import pytest
from made_records import made
from support import REPOSITORY

from cab.errors import CabError
from cab.records import folders
from cab.records.folders import (
    ResultsFolders,
    folders_around,
    packaged_results,
    refuse_package,
    results_folders,
)
from cab.records.results import VERIFIED, Verification, canonical_line, results_file, write_results
from cab.records.store import Record

ENDS = ("softmax", "none")


def publish(folder: Path, records: list[Record]) -> None:
    for name in {record.variant.name for record in records}:
        own = [record for record in records if record.variant.name == name]
        write_results(results_file(folder, "quick", name), own)


@pytest.fixture
def both(tmp_path: Path) -> ResultsFolders:
    """A folder of one's own, and a package with softmax, none and linear on two tasks."""
    packaged = tmp_path / "packaged"
    for name, place in (("softmax", 0.9), ("none", 0.1), ("linear", 0.5)):
        publish(packaged, [*made(name, "mqar", (place,) * 3), *made(name, "mirror", (place,) * 3)])
    return ResultsFolders(tmp_path / "own", packaged)


def values(both: ResultsFolders, name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in both.read("quick", ENDS).records:
        if record.variant.name == name:
            one = record.metrics.test[record.task.metric].value
            found.setdefault(record.task.name, []).append(one)
    return {task: sorted(own) for task, own in found.items()}


def test_outside_a_checkout_own_results_are_read_with_the_packaged_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert results_folders() == ResultsFolders(Path("results"), REPOSITORY / "results")
    assert packaged_results() == REPOSITORY / "results"


@pytest.mark.parametrize("below", ["", "docs"])
def test_in_a_checkout_its_results_are_the_only_ones(
    below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY / below)
    found = results_folders()
    assert (found.own.resolve(), found.packaged) == (REPOSITORY / "results", None)


def test_another_checkout_than_the_one_that_runs_has_its_own_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    monkeypatch.chdir(tmp_path)
    assert results_folders() == ResultsFolders(Path("results"))


def test_a_project_that_depends_on_cab_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[project]\nname = "mine"\ndependencies = ["comprehensive-attention-benchmark"]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert results_folders().packaged == REPOSITORY / "results"


def test_a_named_folder_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert results_folders(Path("given")) == ResultsFolders(Path("given"))
    monkeypatch.setenv("CAB_RESULTS", "named")
    assert results_folders() == ResultsFolders(Path("named"))
    assert results_folders(Path("given")) == ResultsFolders(Path("given"))


def test_own_rows_are_added_to_the_published_ones(both: ResultsFolders) -> None:
    publish(both.own, made("abc", "mqar", (0.7,)))
    found = both.read("quick", ENDS)
    assert {one.variant.name for one in found.records} == {"softmax", "none", "linear", "abc"}
    assert (found.problems, found.notes) == ([], [])


def test_own_rows_replace_the_published_ones_of_a_variant_and_that_is_said(
    both: ResultsFolders,
) -> None:
    publish(both.own, made("linear", "mqar", (0.6, 0.7)))
    assert values(both, "linear") == {"mqar": [0.6, 0.7]}
    assert both.read("quick", ENDS).notes == [
        f"Your quick records of linear in {both.own} replace the published ones."
    ]
    assert both.read("standard", ENDS).records == []


def test_own_references_replace_only_the_tasks_they_cover(both: ResultsFolders) -> None:
    publish(both.own, made("softmax", "mqar", (0.99,)))
    assert values(both, "softmax") == {"mqar": [0.99], "mirror": [0.9, 0.9, 0.9]}
    assert both.read("quick", ENDS).notes == [
        f"Your quick records of softmax in {both.own} replace the published ones on mqar."
    ]


def test_a_rerun_of_a_replaced_record_says_nothing_of_the_new_one(both: ResultsFolders) -> None:
    assert both.packaged is not None
    reruns = {}
    for name in ("linear", "softmax"):
        value = {"linear": 0.5, "softmax": 0.9}[name]
        (record,) = made(name, "mqar", (value,))
        reruns[name] = Verification(
            key=record.key, task="mqar", seed=0, published=value, value=0.5,
            environment=record.environment, git_revision=None,
        )  # fmt: skip
        path = both.packaged / VERIFIED / "quick" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(canonical_line(reruns[name]) + "\n")
    assert len(both.read("quick", ENDS).verifications) == 2
    publish(both.own, made("linear", "mqar", (0.6,)))  # the same key: the same cell
    assert both.read("quick", ENDS).verifications == [reruns["softmax"]]


def test_an_own_file_that_cannot_be_read_replaces_nothing(both: ResultsFolders) -> None:
    path = results_file(both.own, "quick", "linear")
    path.parent.mkdir(parents=True)
    path.write_text("{\n")
    found = both.read("quick", ENDS)
    assert ["linear.jsonl, line 1" in problem for problem in found.problems] == [True]
    assert values(both, "linear") == {"mqar": [0.5] * 3, "mirror": [0.5] * 3}


def test_other_files_of_ones_own_replace_their_namesakes(both: ResultsFolders) -> None:
    assert both.packaged is not None
    for folder, names in ((both.packaged, ("a", "b")), (both.own, ("b", "c"))):
        (folder / "kernels").mkdir(parents=True)
        for name in names:
            (folder / "kernels" / f"{name}.jsonl").touch()
    found, notes = both.files("kernels", "*.jsonl")
    assert [(path.stem, path.parent.parent) for path in found] == [
        ("a", both.packaged), ("b", both.own), ("c", both.own),
    ]  # fmt: skip
    assert notes == [f"Your {both.own}/kernels/b.jsonl replaces the published file of that name."]


def test_a_file_is_verified_among_the_results_it_stands_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders_around(Path("results/quick/a.jsonl")) == results_folders()
    assert folders_around(Path("other/quick/a.jsonl")) == ResultsFolders(Path("other"))


def test_nothing_is_written_into_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "cab"
    (package / "results").mkdir(parents=True)
    monkeypatch.setattr(folders.cab, "__file__", str(package / "__init__.py"))
    assert packaged_results() == package / "results"
    refuse_package([tmp_path / "results"])
    with pytest.raises(CabError, match="read-only"):
        refuse_package([package / "results" / "quick" / "a.jsonl"])
