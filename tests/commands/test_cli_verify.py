"""`cab verify`: real smoke-size cells, published as quick ones would be, and rerun."""

import itertools
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab_here, make_record
from made_records import made, made_board

from cab.errors import CabError
from cab.profiles import PROFILES
from cab.publishing.verification import sample, verdict
from cab.records.results import canonical_line, read_file, read_verifications, thinned
from cab.records.store import CurvePoint

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(autouse=True)
def smoke_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let smoke's cells be published: they are the only ones that train in a second."""
    from dataclasses import replace

    monkeypatch.setitem(PROFILES, "smoke", replace(PROFILES["smoke"], scored=True))


@pytest.fixture(scope="module")
def really(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of linear attention on mqar in profile smoke, trained here."""
    store = tmp_path_factory.mktemp("store")
    run = ("run", "--variant", "linear", "--task", "mqar", "--profile", "smoke", "--seeds", "2")
    said = cab_here(*run, "--tracking", "none", "--store", store, "--device", "cpu")
    assert said.code == 0, said.err
    return store


@pytest.fixture
def published(really: Path, tmp_path: Path) -> Path:
    results = tmp_path / "results"
    said = cab_here("publish", "--store", really, "--results", results, "--profile", "smoke")
    assert said.code == 0, said.err
    path = results / "smoke" / "linear.jsonl"
    # What these tests say does not depend on whether this clone has local changes.
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["provenance"].update(git_revision="a" * 40, git_dirty=False)
    write(path, lines)
    return path


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write lines as they must be written."""
    lines = sorted(lines, key=lambda one: one["key"])
    text = [json.dumps(one, sort_keys=True, separators=(",", ":")) for one in lines]
    path.write_text("\n".join(text) + "\n")


def rewrite(path: Path, edit: Edit) -> None:
    """Change the first record of a file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edit(lines[0])
    write(path, lines)


def test_what_was_really_run_is_found_again(published: Path) -> None:
    said = cab_here("verify", published, "--device", "cpu", "--write", "--json")
    assert said.code == 0, said.err
    assert [(one["severity"], one["message"]) for one in said.document["problems"]] == [
        ("look", "linear has 2 seeds on mqar that ended well; a rank needs 3")
    ]
    assert [run["agreement"] for run in said.document["runs"]] == ["agrees", "agrees"]
    assert [run["difference"] for run in said.document["runs"]] == [0, 0]
    for run in said.document["runs"]:
        assert run["value"] == run["published"], "the same machine gives the same bits"
    kept = read_verifications(published.parent.parent / "verified" / "smoke" / "linear.jsonl")
    assert [one.key for one in kept] == [record.key for record in read_file(published)]


@pytest.fixture
def unbelieved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let forged numbers pass the checks without a rerun, as well forged ones would."""
    for name in ("measured_problems", "level_problems", "item_problems", "_lengths"):
        monkeypatch.setattr(f"cab.publishing.soundness.{name}", lambda *_: ())


@pytest.mark.usefixtures("unbelieved")
@pytest.mark.parametrize("error", [0.001, 1000.0])
def test_a_number_that_was_not_measured_is_not_reproduced(error: float, published: Path) -> None:
    # Neither a standard error nor the scatter of the other seeds widens what is accepted.
    lines = [json.loads(line) for line in published.read_text().splitlines()]
    for line, value in zip(lines, (0.99, 0.5), strict=True):
        line["metrics"]["test"]["accuracy"].update(value=value, standard_error=error)
    write(published, lines)
    said = cab_here("verify", published, "--sample", "1", "--device", "cpu")
    assert said.code == 1
    assert "differs" in said.out
    assert "1 cells rerun, 0 agree: not reproduced" in said.out


FAULTS: dict[str, tuple[Edit, str]] = {
    "NaN": (lambda d: d["cost"].update(seconds=float("nan")), "cost.seconds: Input should be"),
    "unknown field": (lambda d: d.update(evil=1), "evil"),
    "another variant": (lambda d: d["variant"].update(name="performer"), "record of 'performer'"),
    "another profile": (lambda d: d["task"].update(profile="quick"), "record of profile 'quick'"),
    "a forged key": (lambda d: d.update(key="0" * 32), "does not match the installed version"),
    "another source": (lambda d: d["variant"].update(source_hash="b" * 64), "the source is"),
    "unchecked": (lambda d: d["variant"].update(unchecked=True), "without checking the laws"),
    "a turned metric": (
        lambda d: d["task"].update(higher_is_better=False),
        "describes mqar not as its card does",
    ),
    "control characters": (
        lambda d: d["provenance"].update(command="cab \u001b[31m"),
        "control characters",
    ),
    "a long curve": (
        lambda d: d.update(curve=[{"step": n, "loss": 1.0, "valid": {}} for n in range(1, 40)]),
        "39 points",
    ),
    "an endless seed": (lambda d: d.update(seed=10**9), "seed 1000000000"),
    "another recipe": (
        lambda d: d["settings"]["recipe"]["train"].update(steps=99),
        "settings or recipe are",
    ),
    "a changed recipe": (
        lambda d: d["settings"]["changed"].update({"train.steps": 9}),
        "its recipe was changed with --set",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(fault: str, published: Path) -> None:
    edit, words = FAULTS[fault]
    rewrite(published, edit)
    said = cab_here("verify", published, "--sample", "0", "--json")
    assert said.code == 1
    messages = [p["message"] for p in said.document["problems"] if p["severity"] == "error"]
    assert any(words in message for message in messages), messages


def test_the_sound_file_has_no_fault_and_runs_nothing_when_asked(published: Path) -> None:
    said = cab_here("verify", published, "--sample", "0")
    assert said.code == 0
    assert "0 errors" in said.out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smoke/Linear.jsonl", "its name is not"),
        ("smoke/..jsonl", "its name is not"),
        ("smoke/linear.json", "its name is not"),
        ("fast/linear.jsonl", "not a scored profile"),
        ("smoke/gone.jsonl", "cannot be read"),
    ],
)
def test_places_and_names_are_checked(name: str, words: str, published: Path) -> None:
    path = published.parent.parent / name
    path.parent.mkdir(exist_ok=True)
    if "gone" not in name:
        shutil.copy(published, path)
    said = cab_here("verify", path, "--sample", "0")
    assert said.code == 1
    assert words in said.out


def test_a_link_is_not_followed(published: Path) -> None:
    link = published.with_name("abc.jsonl")
    link.symlink_to(published)
    assert "no plain file" in cab_here("verify", link, "--sample", "0").out


def test_lines_out_of_order_or_written_otherwise_are_faults(published: Path) -> None:
    lines = published.read_text().splitlines()
    published.write_text("\n".join(reversed(lines)) + "\n")
    assert "not sorted by key" in cab_here("verify", published, "--sample", "0").out
    published.write_text("\n".join(line.replace(",", ", ", 1) for line in lines) + "\n")
    assert "canonical form" in cab_here("verify", published, "--sample", "0").out


def test_seeds_that_were_chosen_are_a_fault(published: Path) -> None:
    (kept,) = (record for record in read_file(published) if record.seed == 1)
    published.write_text(canonical_line(kept) + "\n")
    said = cab_here("verify", published, "--sample", "0", "--json")
    assert said.code == 1
    (problem,) = (one for one in said.document["problems"] if one["severity"] == "error")
    assert "the seeds of linear on mqar are 1, not 0 to 0: publish them all" in problem["message"]


def test_copies_are_refused(published: Path) -> None:
    records = read_file(published)
    twin = records[0].model_copy(update={"curve": records[1].curve})
    lines = sorted(canonical_line(one) for one in (twin, records[1]))
    published.write_text("\n".join(lines) + "\n")
    said = cab_here("verify", published, "--sample", "0", "--json")
    assert said.code == 1
    assert any("trained alike" in problem["message"] for problem in said.document["problems"])


def test_a_score_well_above_the_reference_is_to_be_looked_at(tmp_path: Path) -> None:
    from made_records import TASKS, VARIANTS

    from cab.publishing.validation import suspicious
    from cab.scores.board import make_board
    from cab.scores.table import records_table

    records = [*made_board(), *made("linear", "mqar", (2.0, 2.0, 2.0))]
    board = make_board(records_table(records), "quick", TASKS, VARIANTS)
    assert ["mqar" in text for text in suspicious(board, "linear")] == [True]
    assert suspicious(board, "sdpa") == []


def test_a_sample_takes_each_task_before_any_twice_and_the_same_for_the_same_draw() -> None:
    records = made_board({"linear": 0.5})
    mine = [record for record in records if record.variant.name == "linear"]
    chosen = sample(mine, 4, "a")
    assert len({record.task.name for record in chosen}) == 4
    assert [one.key for one in chosen] == [one.key for one in sample(mine[::-1], 4, "a")]
    assert len(sample(mine, None, "a")) == len(mine) == 12
    failed = made("linear", "mirror", (0.0,), first=9, status="oom")
    assert sample(failed, 3, "a") == []


def test_every_cell_may_be_drawn_and_the_draw_decides_which() -> None:
    mine = [record for record in made_board({"linear": 0.5}) if record.variant.name == "linear"]
    chosen = {
        draw: frozenset(one.key for one in sample(mine, 2, draw)) for draw in map(str, range(99))
    }
    assert frozenset.union(*chosen.values()) == {record.key for record in mine}
    assert len(set(chosen.values())) > 30


def test_the_draw_is_said_can_be_repeated_and_is_otherwise_random(published: Path) -> None:
    def drawn(*options: str) -> tuple[str, str]:
        said = cab_here(
            "verify", published, "--sample", "1", "--device", "cpu", "--json", *options
        )
        assert said.code == 0, said.err
        draw = said.document["draw"]
        assert f"Cells are chosen by --draw {shlex.quote(draw)}." in said.err
        (run,) = said.document["runs"]
        return draw, run["key"]

    first = drawn()
    assert drawn("--draw", first[0]) == first
    assert drawn()[0] != first[0]
    assert drawn("--draw", "a b")[0] == "a b"
    nothing = cab_here("verify", published, "--sample", "0", "--json")
    assert nothing.document["draw"] is None
    assert "--draw" not in nothing.err


def test_a_rerun_that_fails_is_no_verdict() -> None:
    (record,) = made("linear", "mqar", (0.5,))
    with pytest.raises(CabError, match="ended as oom here"):
        verdict(record, make_record(status="oom"))


def test_curves_are_thinned_evenly_and_keep_their_end() -> None:
    curve = tuple(CurvePoint(step=n, loss=1 / 3) for n in range(1, 51))
    kept = thinned(curve)
    assert len(kept) == 12
    assert kept[-1].step == 50
    gaps = {b.step - a.step for a, b in itertools.pairwise(kept)}
    assert gaps <= {4, 5}
    assert kept[0].loss == 0.333333
    assert thinned(curve[:5]) == tuple(
        point.model_copy(update={"loss": 0.333333}) for point in curve[:5]
    )
    assert thinned(()) == ()
