"""`cab publish`, `leaderboard`, `compare`, `report`: from a store to a board."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import cab_here
from made_records import (
    COUNTING,
    REGISTERED,
    made,
    made_board,
    made_entry,
    own_tasks_scored,
)
from plug_ins import installed_source
from support import REPOSITORY

from cab.records.results import canonical_line, read_file, results_file, write_results
from cab.records.store import Record, RecordStore

MQAR = REGISTERED["mqar"].version
ENTRIES = {"linear": 0.5, "performer": 0.52, "gqa": 0.97, "window": 0.3}


@pytest.fixture(autouse=True)
def _own_tasks() -> Iterator[None]:
    with own_tasks_scored():
        yield


@pytest.fixture
def store(tmp_path: Path) -> Path:
    records = RecordStore(tmp_path / "runs")
    for record in made_board(ENTRIES, tasks=COUNTING):
        records.write(record)
    return records.root


@pytest.fixture
def results(store: Path, tmp_path: Path) -> Path:
    said = cab_here("publish", "--store", store, "--results", tmp_path / "results")
    assert said.code == 0, said.err
    return tmp_path / "results"


def test_a_store_is_published_a_record_a_line_sorted_by_key(results: Path, store: Path) -> None:
    files = sorted((results / "quick").iterdir())
    assert [p.stem for p in files] == sorted([*ENTRIES, "softmax", "sdpa", "none", "mean"])
    for path in files:
        records = read_file(path)
        assert [r.key for r in records] == sorted(r.key for r in records)
        assert path.read_text() == "".join(canonical_line(r) + "\n" for r in records)
        assert {len(r.curve) for r in records} == {12}
        for record in records:
            own = RecordStore(store).read(record.key)
            assert record.metrics == own.metrics
            assert record.curve[-1].step == own.curve[-1].step


def test_publishing_again_changes_no_byte_and_adds_what_is_new(
    results: Path, store: Path, tmp_path: Path
) -> None:
    before = {p.name: p.read_bytes() for p in (results / "quick").iterdir()}
    assert cab_here("publish", "--store", store, "--results", results).code == 0
    assert {p.name: p.read_bytes() for p in (results / "quick").iterdir()} == before
    (more,) = made("linear", "mqar", (0.5,), first=7)
    RecordStore(tmp_path / "other").write(more)
    said = cab_here("publish", "--store", tmp_path / "other", "--results", results, "--json")
    (written,) = said.document["written"]
    assert (written["variant"], written["records"]) == ("linear", 1)
    lines = before["linear.jsonl"].splitlines()
    assert set(lines) < set((results / "quick" / "linear.jsonl").read_bytes().splitlines())


def test_a_changed_source_replaces_the_results_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "quick" / "linear.jsonl"
    write_results(path, made("linear", "mqar", (0.5, 0.6), source="b" * 64, minutes=2))
    store = RecordStore(tmp_path / "store")
    for record in made("linear", "mqar", (0.5, 0.6), minutes=1):  # a source that was gone back to
        store.write(record)
    for _ in range(2):
        assert cab_here("publish", "--store", store.root, "--results", tmp_path).code == 0
    hashes = [record.variant.source_hash for record in read_file(path)]
    assert hashes == [installed_source("linear")] * 2


def test_what_is_not_fit_is_left_out_and_said(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for record in (
        *made("linear", "mqar", (0.5,)),
        *made("linear", "mqar", (0.5,), first=1, status="error"),
        *made("linear", "mqar", (0.5,), first=2, changed={"train.steps": 3}),
        *made("linear", "mqar", (0.5,), first=3, status="oom"),
        *made("linear", "mqar", (0.5, 0.5), first=4, version=MQAR - 1),
    ):
        store.write(record)
    said = cab_here("publish", "--store", tmp_path, "--results", tmp_path / "r")
    assert said.code == 0
    assert "1 of linear left out: it ended in error" in said.err
    assert f"2 of linear left out: mqar is at version {MQAR} now." in said.err
    assert "its recipe was changed with --set" in said.err
    assert {r.status for r in read_file(tmp_path / "r/quick/linear.jsonl")} == {"ok", "oom"}


def test_paths_of_the_author_s_machine_are_not_published(tmp_path: Path) -> None:
    (record,) = made("linear", "mqar", (0.5,))
    command = "cab run --include '/home/some one/secret/mine.py' --store ../runs"
    provenance = record.provenance.model_copy(update={"command": command})
    RecordStore(tmp_path).write(record.model_copy(update={"provenance": provenance}))
    assert cab_here("publish", "--store", tmp_path, "--results", tmp_path / "r").code == 0
    (published,) = read_file(tmp_path / "r/quick/linear.jsonl")
    assert published.provenance.command == "cab run --include mine.py --store ../runs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("publish",), "nothing to publish"),
        (("publish", "--profile", "smoke"), "never scored"),
        (("publish", "--profile", "fast"), "no profile called"),
        (("leaderboard", "--results", "empty"), "no scored quick results in empty"),
        (("compare", "a", "b", "--results", "empty"), "no scored quick results in empty"),
        (("report", "--results", "empty"), "no scored quick results in empty"),
        (
            ("leaderboard", "--results", "empty"),
            "Run `cab run --variant softmax --profile quick`, then `cab publish --profile quick`",
        ),
        (("leaderboard", "--profile", "standard"), "No task is certified in profile standard"),
        (("report", "--profile", "standard"), "`cab certify TASK --profile standard`"),
    ],
)
def test_an_empty_folder_is_a_sentence(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = cab_here(*arguments)
    assert said.code == 2
    assert words in " ".join(said.err.split())
    assert list(tmp_path.iterdir()) == []


def own_results(tmp_path: Path, *records: list[Record]) -> Path:
    """Publish records in the folder that is the default one in `tmp_path`."""
    for own in records:
        write_results(results_file(tmp_path / "results", "quick", own[0].variant.name), own)
    return tmp_path / "results"


def test_elsewhere_a_row_of_ones_own_stands_beside_all_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = cab_here("leaderboard", "--results", REPOSITORY / "results", "--json")
    # Published results of older versions of the tasks are on no board.
    published = said.document["rows"] if said.code == 0 else []
    monkeypatch.chdir(tmp_path)
    own_results(tmp_path, made("mine", "mqar", (0.5, 0.5, 0.5)), made("yours", "mqar", (0.4, 0.5)))
    said = cab_here("leaderboard", "--json")
    rows = {row["entry"]: row for row in said.document["rows"]}
    # (.5 - .2) / .8
    assert rows["mine"]["score"]["value"] == pytest.approx(0.375)
    assert rows["mine"]["coverage"] == "1/4 patterns, 1/4 tasks"
    assert rows.keys() == {row["entry"] for row in published} | {"mine", "yours"}
    assert all(rows[row["entry"]]["score"] == row["score"] for row in published)
    report = csv.DictReader(io.StringIO(cab_here("report", "--format", "csv").out))
    assert {"mine", "yours"} <= {row["entry"] for row in report}
    found = cab_here("compare", "mine", "yours", "--json").document
    assert found["overall"]["difference"] == pytest.approx(0.0625)


def test_elsewhere_own_rows_replace_the_published_ones_of_a_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own_results(tmp_path, made("window", "mqar", (0.5, 0.5)))
    said = cab_here("leaderboard", "--json")
    assert "Your quick records of window in results replace the published ones." in said.err
    (row,) = (row for row in said.document["rows"] if row["entry"] == "window")
    assert list(row["tasks"]) == ["mqar"]
    assert set(row["tasks"]["mqar"]["values"].values()) == {0.5}


def test_a_board_without_softmax_or_none_scores_as_any_other(tmp_path: Path) -> None:
    results = own_results(
        tmp_path, made("mine", "mqar", (0.5,)), made("softmax", "mirror", (0.9,))
    )
    for command in ("leaderboard",), ("report",), ("compare", "mine", "softmax"):
        said = cab_here(*command, "--results", results)
        assert said.code == 0
        assert said.err == ""
    assert "have no scored task in common" in said.out
    for command in ("leaderboard", "--json"), ("report", "--format", "json"):
        document = cab_here(*command, "--results", results).document
        (row,) = (row for row in document["rows"] if row["entry"] == "mine")
        assert row["score"]["value"] == pytest.approx(0.375)
        assert (row["coverage"], row["seeds"]) == ("1/4 patterns, 1/4 tasks", 1)
        assert row["trial"] == "1 seed, a rank needs 3"
    assert (
        "trial: not all learning rates or too few seeds"
        in cab_here("leaderboard", "--results", results).out
    )
    said = cab_here("leaderboard", "--results", results, "--pattern", "cc")
    assert said.code == 2
    assert "No entry has a score in cc" in said.err


def test_a_board_of_which_no_task_is_certified_has_rows_without_scores(tmp_path: Path) -> None:
    results = own_results(tmp_path, made("mine", "byte-lm", (2.0, 2.1, 2.2)))
    said = cab_here("leaderboard", "--results", results)
    assert said.code == 0
    assert "mine" in said.out
    (row,) = cab_here("leaderboard", "--results", results, "--json").document["rows"]
    assert (row["score"], row["rank"], row["left_plateau"]) == (None, None, None)
    said = cab_here("compare", "mine", "mine", "--results", results)
    assert "have no scored task in common" in said.out


def test_a_name_that_leads_elsewhere_is_not_written(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "store")
    for record in made("../../evil", "mqar", (0.5,)):
        store.write(record)
    said = cab_here("publish", "--store", store.root, "--results", tmp_path / "a/b/results")
    assert said.code == 2
    assert "is not a valid name of a variant" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_the_board_is_printed_with_intervals_ranks_and_coverage(results: Path) -> None:
    said = cab_here("leaderboard", "--results", results)
    assert said.code == 0
    assert "0 needs no attention, 1 is solved" in said.out
    assert "Welch's test over seeds, corrected for all pairs" in said.out
    document = cab_here("leaderboard", "--results", results, "--json").document
    rows = {row["entry"]: row for row in document["rows"]}
    assert rows["gqa"]["rank"][0] == rows["softmax"]["rank"][0] == 1
    assert rows["linear"]["rank"][0] > 2
    # Softmax is right in .9 of 1, and .2 is the floor.
    assert rows["softmax"]["score"]["value"] == pytest.approx(0.875, abs=0.02)
    assert rows["none"]["rank"] is None
    assert rows["linear"]["score"]["low"] < rows["linear"]["score"]["value"]
    assert f"{rows['gqa']['score']['value']:.2f} [" in said.out
    assert rows["gqa"]["coverage"] in said.out
    window = cab_here("leaderboard", "--results", results, "--pattern", "cc", "--json").document
    assert "window" not in {row["entry"] for row in window["rows"]}


def test_own_runs_are_seen_beside_the_published_ones(results: Path, tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "mine")
    for record in made_entry("abc", mqar=(0.8, 0.81, 0.79), digits=(0.7, 0.7, 0.71)):
        store.write(record)
    before = cab_here("leaderboard", "--results", results, "--json").document["rows"]
    said = cab_here("leaderboard", "--results", results, "--store", store.root, "--json")
    after = {row["entry"]: row for row in said.document["rows"]}
    assert "abc" in after
    for row in before:
        assert after[row["entry"]]["score"] == row["score"]


def test_two_entries_are_compared(results: Path) -> None:
    said = cab_here("compare", "gqa", "linear", "--results", results)
    assert said.code == 0
    assert "significantly different after correction for all pairs" in said.out
    assert "Mean over patterns: " in said.out
    found = cab_here("compare", "gqa", "linear", "--results", results, "--json").document
    overall = found["overall"]
    assert overall["difference"] > 0.2
    assert 0 < overall["interval"]["low"] < overall["difference"] < overall["interval"]["high"]
    assert overall["p_value"] < 0.05
    assert all(one["corrected"] >= one["p_value"] for one in found["patterns"])
    wrong = cab_here("compare", "gqa", "lineer", "--results", results)
    assert wrong.code == 2
    assert "Did you mean linear" in wrong.err


def test_reports_in_every_format(results: Path, tmp_path: Path) -> None:
    markdown = cab_here("report", "--results", results, "--rows", "3").out
    assert markdown.startswith("| rank | entry | score, 95 % | ns | cs | nc | cc | coverage |")
    assert len(markdown.splitlines()) == 5
    latex = cab_here("report", "--format", "latex", "--results", results).out
    assert r"\toprule" in latex
    assert r"\emph{softmax}" in latex
    lines = list(
        csv.DictReader(
            io.StringIO(cab_here("report", "--format", "csv", "--results", results).out)
        )
    )
    assert {line["entry"] for line in lines} > set(ENTRIES)
    cab_here("report", "--format", "json", "--results", results, "--output", tmp_path / "b.json")
    board = cab_here("leaderboard", "--results", results, "--json").out
    assert (tmp_path / "b.json").read_text().split() == board.split()


def test_a_report_runs_nothing_in_a_spreadsheet_or_in_latex() -> None:
    from made_records import TASKS, VARIANTS

    from cab.scores.board import make_board
    from cab.scores.report import to_csv, to_latex, to_markdown
    from cab.scores.table import records_table

    name = "=cmd|' /c calc'!A0 \\input{x} & 5%"
    table = records_table([*made_board(), *made(name, "mqar", (0.5, 0.5, 0.5))])
    board = make_board(table, "quick", TASKS, VARIANTS)
    (line,) = [one for one in csv.DictReader(io.StringIO(to_csv(board))) if "cmd" in one["entry"]]
    assert line["entry"] == "'" + name
    assert r"\textbackslash{}input\{x\} \& 5\%" in to_latex(board)
    assert r"=cmd\|" in to_markdown(board)


def test_a_file_that_cannot_be_read_is_left_out_unless_the_report_is_strict(results: Path) -> None:
    whole = cab_here("report", "--results", results, "--strict")
    assert whole.code == 0, whole.err
    (results / "quick" / "broken.jsonl").write_text('{"not":"a record"}\n')
    said = cab_here("report", "--results", results)
    assert (said.code, said.out) == (0, whole.out)
    assert "broken.jsonl, line 1" in said.err
    strict = cab_here("report", "--results", results, "--strict")
    assert (strict.code, strict.out) == (2, "")
    assert "broken.jsonl, line 1" in strict.err
    assert "Some results cannot be read; correct the 1 problem named above." in strict.err
