"""Files of results are replaced as a whole, by one process at a time."""

from pathlib import Path

import pytest
from made_records import REGISTERED, made

from cab.errors import CabError
from cab.records.files import alone
from cab.records.parts import Evaluation
from cab.records.results import (
    Verification,
    read_file,
    read_verifications,
    write_results,
    write_verifications,
)
from cab.records.store import Record


def rerun(record: Record, value: float) -> Verification:
    return Verification(
        key=record.key, task=record.task.name, seed=record.seed, published=0.5, value=value,
        environment=record.environment, git_revision=None,
    )  # fmt: skip


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes ten bytes of a text."""

    def write_text(path: Path, text: str, **_: str) -> int:
        path.write_bytes(text.encode()[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_text)


def folder_holds(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_a_full_disk_leaves_the_old_results_whole(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "results" / "quick" / "linear.jsonl"
    write_results(path, made("linear", "mqar", (0.5,)))
    before = path.read_bytes()
    request.getfixturevalue("full")
    with pytest.raises(CabError, match=r"No space left on device.*left as it is"):
        write_results(path, made("linear", "mqar", (0.5, 0.6)))
    assert path.read_bytes() == before
    assert folder_holds(path) == ["linear.jsonl"]


@pytest.mark.usefixtures("full")
def test_a_full_disk_leaves_no_half_file_where_none_was(tmp_path: Path) -> None:
    path = tmp_path / "results" / "quick" / "linear.jsonl"
    with pytest.raises(CabError, match="No space left on device"):
        write_results(path, made("linear", "mqar", (0.5,)))
    assert folder_holds(path) == []


def test_a_full_disk_leaves_the_old_reruns_whole(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "linear.jsonl"
    one, other = made("linear", "mqar", (0.5, 0.6))
    write_verifications(path, [rerun(one, 0.5)])
    request.getfixturevalue("full")
    with pytest.raises(CabError, match="No space left on device"):
        write_verifications(path, [rerun(other, 0.6)])
    assert [run.key for run in read_verifications(path)] == [one.key]


def test_reruns_are_added_and_replaced_by_key(tmp_path: Path) -> None:
    path = tmp_path / "verified" / "quick" / "linear.jsonl"
    one, other = made("linear", "mqar", (0.5, 0.6))
    write_verifications(path, [rerun(one, 0.5)])
    write_verifications(path, [rerun(other, 0.6), rerun(one, 0.51)])
    assert {run.key: run.value for run in read_verifications(path)} == {
        one.key: 0.51,
        other.key: 0.6,
    }


def test_another_process_that_writes_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "linear.jsonl"
    (one,) = made("linear", "mqar", (0.5,))
    with alone(path, "cab publish"):
        with pytest.raises(CabError, match="Another cab publish is writing to"):
            write_results(path, [one])
        with pytest.raises(CabError, match="Another cab verify is writing to"):
            write_verifications(path, [rerun(one, 0.5)])
    write_results(path, [one])
    assert folder_holds(path) == ["linear.jsonl"]


def test_results_of_other_programs_are_not_published(tmp_path: Path) -> None:
    path = tmp_path / "linear.jsonl"
    (one,) = made("linear", "mqar", (0.5,))
    claim = Evaluation(
        harness="lm-eval", harness_version="1", task="mmlu", task_version="1", metric="acc",
        higher_is_better=True, value=1.0, n=1,
    )  # fmt: skip
    write_results(path, [one.model_copy(update={"evaluations": (claim,)})])
    (published,) = read_file(path)
    assert published.evaluations == ()
    assert published.key == one.key


def test_results_of_an_older_version_of_a_task_give_way(tmp_path: Path) -> None:
    path = tmp_path / "linear.jsonl"
    write_results(
        path, [*made("linear", "mqar", (0.5,), version=1), *made("linear", "sort", (1,))]
    )
    write_results(path, made("linear", "mqar", (0.6, 0.7), version=2))
    assert sorted((one.task.name, one.task.version) for one in read_file(path)) == [
        ("mqar", 2),
        ("mqar", 2),
        ("sort", REGISTERED["sort"].version),
    ]
