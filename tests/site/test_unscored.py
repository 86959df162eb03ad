"""Pages of entries without a score, and pages that are built outside a checkout."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_records import made, made_board, tasks_of_tests
from site_support import results_of
from support import REPOSITORY

from cab.records.results import results_file, write_results
from cab.registry import Registry
from cab.site.build import build_site
from cab.site.content import gather
from cab.taxonomy import TaskCard


def test_entries_without_a_score_say_why(tmp_path: Path) -> None:
    records = [
        *made("linear", "mqar", (0.5,)),
        *made("window", "mirror", (0.0,), status="oom"),
        *made("luna", "byte-lm", (2.0,)),
    ]
    build_site(results_of(tmp_path, records), tmp_path / "site")
    texts = {
        path.relative_to(tmp_path / "site").as_posix(): path.read_text()
        for path in (tmp_path / "site").rglob("*.html")
    }
    for name, text in texts.items():
        for false in ("0/0", "Scored tasks: .", "none of them on a task"):
            assert false not in text, name
        assert "on 0 task" not in text, name
    # No reference is needed for a score.
    assert 'data-entry="linear"' in texts["index.html"]
    for reason, entry in (
        ("No seed finished on a scored task", "window"),
        ("Results only on tasks that are not scored", "luna"),
    ):
        (line,) = (x for x in texts["index.html"].splitlines() if x.startswith(f"<p>{reason}: "))
        assert f">{entry}</a>" in line
        assert reason in texts[f"variants/{entry}.html"]
        assert "are published in profile" not in texts[f"variants/{entry}.html"]
    assert "No results of this variant are published" in texts["variants/abc.html"]
    assert "These entries have results in this pattern but no score" in texts["patterns/ns.html"]
    assert "No results are published for this pattern yet" in texts["patterns/cc.html"]
    assert "diagnostic: no certificate in this profile" in texts["tasks/byte-lm.html"]


def test_pages_are_built_where_no_task_is_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncertified(include: tuple[Path, ...] = ()) -> Registry[TaskCard]:
        registry = tasks_of_tests(include)
        entries = {
            name: replace(entry, card=replace(entry.card, certificate={}))
            for name, entry in registry.entries.items()
        }
        return replace(registry, entries=entries)

    monkeypatch.setattr("cab.site.content.discover_tasks", uncertified)
    build_site(results_of(tmp_path, made_board({"linear": 0.5})), tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text()
    assert "Results only on tasks that are not scored" in page
    assert "No task is scored here yet." in page


def test_learning_rates_stand_on_the_page_of_a_variant(tmp_path: Path) -> None:
    rates = (1e-3, 2e-3, 4e-3)
    records = [
        *made("linear", "mqar", (0.41,), rate=1e-3, rates=rates),
        *made("linear", "mqar", (0.5,), rate=4e-3, rates=rates),
        *made("linear", "mqar", (0.62, 0.63, 0.64), rate=2e-3, rates=rates),
    ]
    build_site(results_of(tmp_path, records), tmp_path / "site")
    page = (tmp_path / "site" / "variants" / "linear.html").read_text()
    assert "<td>ok, chosen</td>" in page
    assert '<td class="n">0.001</td><td class="n">0.41</td>' in page
    assert "not on the board" in page  # the record at the other rate


def test_a_certificate_of_another_version_of_its_task_is_named_and_not_shown(
    tmp_path: Path,
) -> None:
    results = results_of(tmp_path, made("linear", "mqar", (0.5,)))
    path = results / "certificates" / "quick" / "digits.json"
    stale = json.loads(path.read_text()) | {"version": 99}
    path.write_text(json.dumps(stale))
    content = gather(results)
    assert "digits" not in content.profiles[0].certificates
    assert "pixel-lm" in content.profiles[0].certificates
    version = content.tasks["digits"].version
    assert content.problems == [
        f"{path} is not shown, because it is of version 99 of the task, which is now {version}; "
        f"run cab certify digits."
    ]


def test_elsewhere_pages_hold_own_rows_beside_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "window"):
        own = made(name, "mqar", (0.5, 0.5, 0.5))
        write_results(results_file(Path("results"), "quick", name), own)
    machine = REPOSITORY / "results" / "kernels" / "amd-epyc-2-cores.jsonl"
    Path("results/kernels").mkdir()
    rows = machine.read_text().splitlines()[:5]
    Path("results/kernels", machine.name).write_text("\n".join(rows) + "\n")
    content = gather(None)
    (quick,) = content.profiles
    rows = {row.entry: row for row in quick.board.rows}
    assert {"mine", "window"} <= rows.keys()
    assert list(rows["window"].results) == ["mqar"]
    assert "digits" in quick.certificates
    assert [one.name for one in content.published] == ["CAB", "LRA"]
    assert len(content.kernels) == 2
    assert len(content.kernels["amd-epyc-2-cores"]) <= 5
    assert content.notes == [
        "Your quick records of window in results replace the published ones.",
        "Your results/kernels/amd-epyc-2-cores.jsonl replaces the published file of that name.",
    ]
