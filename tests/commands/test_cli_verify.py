"""`cab verify`: real smoke-size cells, published as quick ones would be, and run again."""

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
from cab.publishing.verification import expected, sample, verdict
from cab.records.results import canonical_line, read_file, read_verifications, thinned
from cab.records.store import CurvePoint, Estimate, Metrics, Record

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
    return results / "smoke" / "linear.jsonl"


def rewrite(path: Path, edit: Edit) -> None:
    """Change the first record of a file, and write it as it must be written."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edit(lines[0])
    lines.sort(key=lambda one: one["key"])
    text = [json.dumps(one, sort_keys=True, separators=(",", ":")) for one in lines]
    path.write_text("\n".join(text) + "\n")


def test_what_was_really_run_is_found_again(published: Path) -> None:
    said = cab_here("verify", published, "--device", "cpu", "--write", "--json")
    assert said.code == 0, said.err
    assert said.document["problems"] == []
    assert [run["inside"] for run in said.document["runs"]] == [True, True]
    for run in said.document["runs"]:
        assert run["value"] == run["published"], "the same machine gives the same bits"
    kept = read_verifications(published.parent.parent / "verified" / "smoke" / "linear.jsonl")
    assert [one.key for one in kept] == [record.key for record in read_file(published)]


def test_a_number_that_was_not_measured_lies_outside(published: Path) -> None:
    def boast(line: dict[str, Any]) -> None:
        line["metrics"]["test"]["accuracy"]["value"] = 0.99
        line["metrics"]["test"]["accuracy"]["standard_error"] = 0.001

    path = published
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        boast(line)
    path.write_text(
        "".join(json.dumps(x, sort_keys=True, separators=(",", ":")) + "\n" for x in lines)
    )
    said = cab_here("verify", path, "--sample", "1", "--device", "cpu")
    assert said.code == 1
    assert "OUTSIDE" in said.out
    assert "1 cells run again, 1 outside" in said.out


FAULTS: dict[str, tuple[Edit, str]] = {
    "NaN": (lambda d: d["cost"].update(seconds=float("nan")), "NaN is no number"),
    "unknown field": (lambda d: d.update(evil=1), "evil"),
    "another variant": (lambda d: d["variant"].update(name="performer"), "record of 'performer'"),
    "another profile": (lambda d: d["task"].update(profile="quick"), "record of profile 'quick'"),
    "a forged key": (lambda d: d.update(key="0" * 32), "not the cell that would run today"),
    "another source": (lambda d: d["variant"].update(source_hash="b" * 64), "the source is"),
    "unproved": (lambda d: d["variant"].update(unchecked=True), "without the proof"),
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
        "its training was changed",
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
    (problem,) = said.document["problems"]
    assert "the seeds of linear on mqar are 1, not 0 to 0: publish them all" in problem["message"]


def test_copies_and_great_sizes_are_to_be_looked_at(published: Path) -> None:
    records = read_file(published)
    twin = records[0].model_copy(update={"curve": records[1].curve})
    big = records[1].variant.model_copy(update={"parameters": 10**9})
    lines = sorted(
        canonical_line(r) for r in (twin, records[1].model_copy(update={"variant": big}))
    )
    published.write_text("\n".join(lines) + "\n")
    said = cab_here("verify", published, "--sample", "0", "--json")
    looks = [p["message"] for p in said.document["problems"] if p["severity"] == "look"]
    assert any("trained alike" in text for text in looks)


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


def with_error(record: Record, error: float) -> Record:
    value = record.metrics.test["accuracy"].value
    estimate = Estimate(value=value, standard_error=error, n=100)
    return record.model_copy(update={"metrics": Metrics(test={"accuracy": estimate})})


def test_the_interval_is_student_s_for_one_more_value() -> None:
    records = [with_error(r, 1e-9) for r in made("linear", "mqar", (0.55, 0.6, 0.65))]
    found = expected(records[0], records)
    # Mean .6, s = .05, t with 2 degrees 4.3027: half 4.3027 x .05 x sqrt(4/3).
    assert found.high - 0.6 == pytest.approx(4.30265 * 0.05 * (4 / 3) ** 0.5, rel=1e-4)
    # With s = .1 it would end at 1.1, which no accuracy reaches.
    wide = [with_error(r, 1e-9) for r in made("linear", "mqar", (0.5, 0.6, 0.7))]
    assert expected(wide[0], wide).high == 1.0
    assert expected(wide[0], wide).low == pytest.approx(0.6 - 0.4968272, rel=1e-4)
    one = [with_error(records[0], 0.01)]
    alone = expected(one[0], one)
    assert alone.high - alone.low == pytest.approx(2 * 1.95996 * 2**0.5 * 0.01, rel=1e-4)
    tight = [with_error(r, 0.1) for r in made("linear", "mqar", (0.5, 0.5, 0.5))]
    assert expected(tight[0], tight).high == pytest.approx(0.5 + 1.95996 * 2**0.5 * 0.1, rel=1e-4)


def test_a_re_run_that_fails_is_no_verdict() -> None:
    (record,) = made("linear", "mqar", (0.5,))
    with pytest.raises(CabError, match="ended as oom here"):
        verdict(record, [record], make_record(status="oom"))


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
