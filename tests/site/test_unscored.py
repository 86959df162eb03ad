"""Pages of entries without a score, and pages that are built outside a checkout."""

from pathlib import Path

import pytest
from made_records import made
from site_support import results_of
from support import REPOSITORY

from cab.records.results import results_file, write_results
from cab.site.build import build_site
from cab.site.content import gather


def test_a_board_without_references_says_so_and_nothing_false(tmp_path: Path) -> None:
    records = [
        *made("linear", "mqar", (0.5,)),
        *made("window", "mirror", (0.0,), status="oom"),
        *made("luna", "byte-lm", (2.0,)),
    ]
    written = build_site(results_of(tmp_path, records), tmp_path / "site")
    assert [one.tasks for one in written.missing] == [("mirror", "mqar")]
    texts = {
        path.relative_to(tmp_path / "site").as_posix(): path.read_text()
        for path in (tmp_path / "site").rglob("*.html")
    }
    for name, text in texts.items():
        for false in ("0/0", "Scored tasks: .", "none of them on a task", "0 of them ranked"):
            assert false not in text, name
        assert "on 0 task" not in text, name
    command = "<code>cab run --variant softmax --variant none --task mirror --task mqar --seeds 3"
    assert command in texts["index.html"]
    assert command in texts["compare.html"]
    for reason, entry in (
        ("No score, because softmax or none has no result on the same tasks", "linear"),
        ("No seed finished on a scored task", "window"),
        ("Results only on tasks that are not scored", "luna"),
    ):
        (line,) = (x for x in texts["index.html"].splitlines() if x.startswith(f"<p>{reason}: "))
        assert f">{entry}</a>" in line
        assert reason in texts[f"variants/{entry}.html"]
        assert "are published in profile" not in texts[f"variants/{entry}.html"]
    assert "No results of this variant are published" in texts["variants/abc.html"]
    own = command.replace(" --task mirror", "")
    assert own in texts["variants/linear.html"]
    assert own in texts["patterns/cs.html"]
    assert "These entries have results in this pattern but no score" in texts["patterns/cs.html"]
    assert "No results are published for this pattern yet" in texts["patterns/cc.html"]
    assert "softmax and none have no result yet" in texts["tasks/mqar.html"]


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
    assert {"mine", "softmax", "none", "gla"} <= rows.keys()
    assert list(rows["window"].results) == ["mqar"]
    assert quick.board.missing == ()
    assert "mqar" in quick.certificates
    assert [one.name for one in content.published] == ["CAB", "LRA"]
    assert len(content.kernels) == 2
    assert len(content.kernels["amd-epyc-2-cores"]) <= 5
    assert content.notes == [
        "Your quick records of window in results replace the published ones.",
        "Your results/kernels/amd-epyc-2-cores.jsonl replaces the published file of that name.",
    ]
