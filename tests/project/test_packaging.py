"""The installed package works from anywhere, and brings no module but `cab`."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_support import DATA, cab_here, environment
from made_records import made
from package_support import install
from support import REPOSITORY

from cab.records.store import RecordStore
from cab.registry import discover_tasks, discover_variants

PACKAGES = ("cab", "kernels", "site", "tasks", "variants")
PARTS = (*PACKAGES, "results", "pyproject.toml", "README.md", "LICENSE")
CLUTTER = shutil.ignore_patterns("__pycache__", "*.egg-info", "public", "build")


@dataclass(frozen=True)
class Installed:
    """A target folder that holds the package, and nothing of the clone."""

    target: Path
    elsewhere: Path

    def python(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the target first; -S leaves out what points at the clone."""
        library = sysconfig.get_paths()
        path = os.pathsep.join([str(self.target), library["purelib"], library["platlib"]])
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=self.elsewhere,
            env=environment(PYTHONPATH=path, **changes),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def cab(self, *arguments: str, **changes: str) -> Any:
        """Run the installed program and return its JSON document."""
        done = self.python("-m", "cab", *arguments, "--json", **changes)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install a copy of the clone's sources, so that no build folder is left in the clone."""
    folder = tmp_path_factory.mktemp("install")
    source, target, elsewhere = (folder / name for name in ("source", "target", "elsewhere"))
    source.mkdir()
    elsewhere.mkdir()
    for name in PARTS:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, ignore=CLUTTER)
        else:
            shutil.copy(REPOSITORY / name, source / name)
    install(source, target)
    shutil.rmtree(source)
    return Installed(target, elsewhere)


@pytest.mark.slow
def test_nothing_but_cab_reaches_the_users_modules(installed: Installed) -> None:
    names = {path.name for path in installed.target.iterdir() if path.suffix != ".dist-info"}
    assert names == {"cab", "bin"}
    (folder,) = installed.target.glob("*.dist-info")
    owned = {line.partition("/")[0] for line in (folder / "RECORD").read_text().splitlines()}
    assert owned == {"cab", folder.name, ".."} | ({"bin"} & owned)
    script = (
        "import importlib.util, sys\n"
        "names = ['variants', 'kernels', 'tasks', 'results']\n"
        "print([name for name in names if importlib.util.find_spec(name)], 'cab' in sys.modules)"
    )
    assert installed.python("-c", script).stdout.split("]")[0] == "["


@pytest.mark.slow
def test_the_installed_package_is_the_one_that_runs(installed: Installed) -> None:
    script = (
        "import cab, cab.variants, cab.tasks, cab.kernels, cab.site\n"
        "for one in (cab, cab.variants, cab.tasks, cab.kernels, cab.site):\n"
        "    print(one.__file__ or list(one.__path__)[0])"
    )
    done = installed.python("-c", script)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(Path(line).is_relative_to(installed.target / "cab") for line in lines), lines


@pytest.mark.slow
def test_every_module_and_the_templates_are_shipped(installed: Installed) -> None:
    for folder, root in (("cab", "cab"), *((n, f"cab/{n}") for n in PACKAGES[1:])):
        expected = {
            path.relative_to(REPOSITORY / folder)
            for pattern in ("*.py", "*.template", "py.typed")
            for path in (REPOSITORY / folder).rglob(pattern)
            if "public" not in path.parts
        }
        shipped = installed.target / root
        missing = [str(path) for path in sorted(expected) if not (shipped / path).is_file()]
        assert missing == []
    for name in ("variant", "variant_wrap", "task"):
        template = Path("cab", "commands", "templates", f"{name}.py.template")
        assert (installed.target / template).is_file()


@pytest.mark.slow
def test_the_published_results_are_shipped_to_the_last_byte(installed: Installed) -> None:
    published, shipped = REPOSITORY / "results", installed.target / "cab" / "results"
    files = {path.relative_to(published) for path in published.rglob("*") if path.is_file()}
    assert files == {path.relative_to(shipped) for path in shipped.rglob("*") if path.is_file()}
    assert all((shipped / one).read_bytes() == (published / one).read_bytes() for one in files)


@pytest.mark.slow
def test_the_installed_program_shows_the_published_board_in_an_empty_folder(
    installed: Installed, tmp_path: Path
) -> None:
    elsewhere = Installed(installed.target, tmp_path)
    board = elsewhere.cab("leaderboard")
    there = cab_here("leaderboard", "--results", REPOSITORY / "results", "--json").document
    assert board == there
    scores = {row["entry"]: row["score"] for row in board["rows"]}
    covered = {row["entry"]: row["patterns"].keys() for row in board["rows"]}
    alike = [name for name in scores if covered[name] == covered["softmax"]]
    assert scores["softmax"]["value"] == max(scores[name]["value"] for name in alike)
    assert scores["none"]["value"] <= 0  # the floor is the best of what needs no attention
    published = {path.stem for path in (REPOSITORY / "results" / "quick").glob("*.jsonl")}
    assert scores.keys() == published >= {"softmax", "none"}
    done = elsewhere.python("-m", "cab", "report", "--rows", "3")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5), done.stderr
    tasks = elsewhere.cab("compare", "deltanet", "window")["tasks"]
    assert tasks
    assert all(one["difference"] > 0 for one in tasks)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_nothing_is_written_into_the_installed_package(
    installed: Installed, tmp_path: Path
) -> None:
    store = RecordStore(tmp_path / "runs")
    for record in made("window", "mqar", (0.5,)):
        store.write(record)
    elsewhere = Installed(installed.target, tmp_path)
    shipped = installed.target / "cab" / "results"
    before = (shipped / "quick" / "window.jsonl").read_bytes()
    refused = elsewhere.python("-m", "cab", "publish", "--results", str(shipped))
    assert refused.returncode == 2
    assert "read-only" in refused.stderr
    file = str(shipped / "quick" / "window.jsonl")
    refused = elsewhere.python("-m", "cab", "verify", file, "--write")
    assert refused.returncode == 2
    assert "read-only" in refused.stderr
    assert elsewhere.python("-m", "cab", "publish").returncode == 0
    assert (tmp_path / "results" / "quick" / "window.jsonl").is_file()
    assert (shipped / "quick" / "window.jsonl").read_bytes() == before


@pytest.mark.slow
def test_the_installed_program_lists_what_the_clone_does(installed: Installed) -> None:
    variants = installed.cab("list", "variants")
    assert [one["name"] for one in variants] == discover_variants().names()
    tasks = installed.cab("list", "tasks")
    assert [one["name"] for one in tasks] == discover_tasks().names()


@pytest.mark.slow
def test_the_installed_program_scaffolds_and_runs_from_another_folder(
    installed: Installed,
) -> None:
    done = installed.python("-m", "cab", "new", "variant", "my-thing")
    assert done.returncode == 0, done.stderr
    run = ("run", "--profile", "smoke", "--tracking", "none", "--include", "my_thing.py")
    more = ("--variant", "my-thing", "--task", "mqar", *(("--task", "byte-lm") if DATA else ()))
    document = installed.cab(*run, *more, **({"CAB_DATA": DATA} if DATA else {}))
    assert {one["status"] for one in document["cells"]} == {"ok"}
    for one in document["cells"]:
        record = json.loads((installed.elsewhere / one["record"]).read_text())
        assert record["provenance"]["git_revision"] is None
    assert {path.name for path in installed.elsewhere.iterdir()} == {"my_thing.py", "runs"}
