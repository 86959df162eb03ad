"""What SECURITY.md says of commands: which import an included file, and which read its card."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import cab_here, make_record, write_variant
from made_records import made_board
from support import REPOSITORY

from cab.records.results import canonical_line
from cab.records.sources import source_hash
from cab.records.store import RecordStore

TEXT = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
SMOKE = ("--task", "byte-lm", "--profile", "smoke")
POINT = ("--baseline", "softmax", "--pattern", "cs", "--pass", "fwd_no_grad", "--seconds", "0.1")
RUNS = {
    "run": ("--variant", "mine", *SMOKE, "--dry-run"),
    "sweep": ("--variant", "mine", *SMOKE, "--dry-run"),
    "check": ("mine", "--law", "budget"),
    "bench": ("--variant", "mine", *POINT, "--lengths", "16"),
    "crossover": ("mine", *POINT, "--shortest", "16", "--longest", "32"),
    "info": ("mine",),
    "extrapolate": ("--variant", "mine", *SMOKE),
    "probe": ("--variant", "mine", *SMOKE),
    "lm-eval": ("--variant", "mine", "--tasks", "cab_recall", *SMOKE),
    "verify": ("results/quick/mine.jsonl", "--sample", "0"),
}
READS = {
    "list": ("variants",),
    "show": (),
    "compare": ("softmax", "none"),
    "leaderboard": (),
    "report": (),
    "site build": ("--out", "public"),
    "publish": ("--store", "runs", "--results", "other"),
}


@pytest.fixture
def included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A variant that leaves a mark when it is imported, with results of it; and the mark."""
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    path = write_variant(tmp_path, "mine", top=f"open({str(mark)!r}, 'w').close()\n")
    (tmp_path / "results/quick").mkdir(parents=True)
    records = [*made_board({"linear": 0.5}), make_record(variant="mine")]
    for name in {record.variant.name for record in records}:
        own = sorted((r for r in records if r.variant.name == name), key=lambda one: one.key)
        text = "".join(canonical_line(record) + "\n" for record in own)
        (tmp_path / f"results/quick/{name}.jsonl").write_text(text)
    record = make_record(variant="mine")
    own_source = record.variant.model_copy(update={"source_hash": source_hash(path)})
    RecordStore(tmp_path / "runs").write(record.model_copy(update={"variant": own_source}))
    return path, mark


SLOW = pytest.param("bench", marks=pytest.mark.slow)


@pytest.mark.parametrize("command", [SLOW, *(one for one in RUNS if one != "bench")])
def test_these_commands_import_an_included_file(command: str, included: tuple[Path, Path]) -> None:
    path, mark = included
    said = cab_here(command, *RUNS[command], "--include", path, CAB_DATA="/nowhere")
    assert mark.exists(), said.err
    rows = [one for one in TEXT.splitlines() if one.startswith("| `")]
    assert any(f"`{command}`" in one or f"`cab {command}" in one for one in rows)


def test_certifying_imports_an_included_task(tmp_path: Path) -> None:
    assert cab_here("new", "task", "evenness", "--file", tmp_path / "evenness.py").code == 0
    mark = tmp_path / "mark"
    path = tmp_path / "evenness.py"
    path.write_text(path.read_text() + f"\n\nopen({str(mark)!r}, 'w').close()\n")
    asked = ("evenness", "--profile", "smoke", "--include", path, "--out", tmp_path / "out")
    cab_here("certify", *asked, "--store", tmp_path / "store")
    assert mark.exists()
    assert "`certify`" in TEXT


@pytest.mark.parametrize("command", READS)
def test_these_commands_read_its_card_alone(command: str, included: tuple[Path, Path]) -> None:
    path, mark = included
    said = cab_here(*command.split(), *READS[command], "--include", path)
    assert said.code == 0, said.err
    assert not mark.exists()
    reading = re.sub(r"\s+", " ", TEXT.partition("## What runs none")[2].partition("- Records")[0])
    assert f"`{command}`" in reading or f"`cab {command}`" in reading


def test_publishing_imports_nothing(included: tuple[Path, Path]) -> None:
    assert cab_here("publish", "--store", "runs", "--results", "other").code == 0
    assert not included[1].exists()


def test_every_command_that_takes_a_file_is_named() -> None:
    folder = REPOSITORY / "cab" / "commands"
    taking = {path.stem for path in folder.rglob("*.py") if "include: Include" in path.read_text()}
    taking -= {"options", "certify"}  # certify trains: it has a test of its own
    named = {name.split()[0].replace("-", "_") for name in (*RUNS, *READS)}
    assert {name.rstrip("_") for name in taking} <= named


def test_listing_imports_the_package_of_a_plug_in_and_not_its_module(tmp_path: Path) -> None:
    package = tmp_path / "plugged"
    package.mkdir()
    mark, other = tmp_path / "package", tmp_path / "module"
    (package / "__init__.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    write_variant(package, "mine", top=f"open({str(other)!r}, 'w').close()\n")
    metadata = tmp_path / "plugged-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[cab.variants]\nmine = plugged.mine\n")
    done = subprocess.run(
        [sys.executable, "-m", "cab", "list", "variants"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=REPOSITORY,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    assert mark.exists()
    assert not other.exists()
