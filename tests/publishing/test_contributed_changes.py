"""What a contribution changes, in real repositories: no kind of commit goes unseen."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import REPOSITORY
from workflow_steps import git, write

from cab.errors import CabError
from cab.publishing.contribution import Contribution, inspect, main

VARIANT = """from cab.registry import register_variant
{imports}
@register_variant(name="{name}", family="linear", patterns="ns", summary="for a test")
class Mine: ...
"""
TASK = """from cab.registry import register_task
{imports}
@register_task(name="{name}", domain="retrieval", pattern="cs", summary="x", backbone="decoder",
               metric="accuracy", higher_is_better=True, version=1, length="64")
class Mine: ...
"""


def line(
    key: str, task: str = "mqar", source: str = "a", version: int = 1, value: float = 0
) -> str:
    record = {
        "key": key,
        "task": {"name": task, "version": version},
        "variant": {"source_hash": source},
        "value": value,
    }
    return json.dumps(record) + "\n"


FILES = {
    "CHANGELOG.md": "# Changes\n",
    "README.md": "about\n",
    "kernels/__init__.py": "",
    "kernels/scan.py": "from cab.kernels.tiles import tile\n",
    "kernels/tiles.py": "tile = 1\n",
    "tasks/__init__.py": "",
    "tasks/retrieval/__init__.py": "",
    "tasks/retrieval/_words.py": "words = 1\n",
    "tasks/retrieval/find.py": TASK.format(
        name="find", imports="from cab.tasks.retrieval._words import words"
    ),
    "variants/__init__.py": "",
    "variants/linear/__init__.py": "",
    "variants/linear/_scan.py": "import cab.kernels.scan\n",
    "variants/linear/alone.py": VARIANT.format(name="alone", imports=""),
    "variants/linear/near_it.py": VARIANT.format(
        name="near-it", imports="from cab.variants.linear import _scan"
    ),
    "results/README.md": "what is here\n",
    "results/quick/alone.jsonl": line("1") + line("2", task="find"),
    "results/quick/near-it.jsonl": line("3"),
    "results/quick/softmax.jsonl": line("4"),
    "results/kernels/amd.jsonl": "{}\n",
    "results/certificates/quick/find.json": "{}\n",
    "results/reference/lra.json": "{}\n",
    "results/verified/quick/alone.jsonl": "{}\n",
}
ROWS = ["results/quick/alone.jsonl", "results/quick/near-it.jsonl", "results/quick/softmax.jsonl"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small tree of the project's form, with one commit."""
    folder = tmp_path / "tree"
    for path, text in FILES.items():
        write(folder, path, text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=base")
    return folder


def merged(folder: Path) -> Contribution:
    """Commit what was changed on a branch, merge it as a pull request is, and inspect that."""
    git(folder, "checkout", "--quiet", "-b", "contribution")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=change")
    git(folder, "checkout", "--quiet", "main")
    write(folder, "elsewhere.txt", "main went on\n")
    (folder / "results/quick/softmax.jsonl").write_text(line("4") + line("5"))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=main")
    git(folder, "merge", "--quiet", "--no-ff", "--message=merge", "contribution")
    return inspect(folder, "HEAD^1")


def test_a_new_row_is_to_be_checked_and_what_main_did_meanwhile_is_not(repository: Path) -> None:
    write(repository, "results/quick/mine.jsonl", line("9"))
    found = merged(repository)
    assert found == Contribution(
        changed=["added: results/quick/mine.jsonl (1 records added, 0 changed, 0 deleted)"],
        rows=["results/quick/mine.jsonl"],
    )


def test_a_changed_row_says_how_many_records_changed(repository: Path) -> None:
    text = line("1", value=1) + line("2", task="find") + line("7", version=2) + line("8")
    write(repository, "results/quick/alone.jsonl", text)
    found = merged(repository)
    assert found.refused == []
    assert found.rows == ["results/quick/alone.jsonl"]
    assert found.changed == [
        "changed: results/quick/alone.jsonl (2 records added, 1 changed, 0 deleted)"
    ]


LINKS = {
    "a row": "results/quick/softmax.jsonl",
    "a new row": "results/quick/mine.jsonl",
    "a folder of rows": "results/quick",
    "all results": "results",
    "a rerun": "results/verified/quick/alone.jsonl",
    "a variant": "variants/linear/alone.py",
    "a helper": "variants/linear/_scan.py",
    "a kernel": "kernels/tiles.py",
    "a task": "tasks/retrieval/find.py",
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_symbolic_link_is_refused(kind: str, repository: Path) -> None:
    path = repository / LINKS[kind]
    if path.is_dir():
        git(repository, "rm", "-r", "--quiet", LINKS[kind])
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=link")
    refused = inspect(repository, "HEAD~1").refused
    assert any(one.startswith(f"{LINKS[kind]} is a symbolic link;") for one in refused), refused


def test_a_submodule_is_refused(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},results/quick/more")
    git(repository, "commit", "--quiet", "--message=submodule")
    (refused,) = inspect(repository, "HEAD~1").refused
    assert refused.startswith("results/quick/more is a submodule")


REMOVED = [
    "results/quick/alone.jsonl",
    "results/quick/softmax.jsonl",
    "results/verified/quick/alone.jsonl",
    "results/kernels/amd.jsonl",
    "results/certificates/quick/find.json",
    "results/reference/lra.json",
]


@pytest.mark.parametrize("path", REMOVED)
@pytest.mark.parametrize("way", ["deleted", "renamed", "moved out"])
def test_what_is_published_is_removed_with_a_reason_only(
    path: str, way: str, repository: Path
) -> None:
    name = Path(path).stem
    targets = {"renamed": str(Path(path).with_stem("another")), "moved out": "old/thing.jsonl"}
    if way == "deleted":
        (repository / path).unlink()
    else:
        write(repository, targets[way], (repository / path).read_text())
        (repository / path).unlink()
    write(repository, "CHANGELOG.md", f"# Changes\nNew: {name}-2, my{name}.\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=remove")
    found = inspect(repository, "HEAD~1")
    (refused,) = found.refused
    assert refused.startswith(f"deleted: {path}. ")
    assert f"add a line to CHANGELOG.md that names {name}" in refused
    assert any(path in one for one in found.changed)
    write(repository, "CHANGELOG.md", f"# Changes\nWithdrawn: {name}, its data leaked.\n")
    git(repository, "commit", "--quiet", "--all", "--message=reason")
    explained = inspect(repository, "HEAD~2")
    assert explained.refused == []
    assert any(path in one for one in explained.changed)


@pytest.mark.parametrize("name", ["invariance.json", "precision.json", "order.txt"])
def test_single_files_of_results_are_reviewed_by_hand(name: str, repository: Path) -> None:
    write(repository, f"results/{name}", "{}\n")
    write(repository, "results/other.json", "{}\n")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=measured")
    found = inspect(repository, "HEAD~1")
    (reviewed,) = found.review
    assert reviewed.startswith(f"results/{name} (")
    (refused,) = found.refused
    assert refused.startswith("results/other.json has no place in results/")


def test_records_that_are_left_out_need_a_reason_too(repository: Path) -> None:
    write(repository, "results/quick/alone.jsonl", line("1"))
    (refused,) = merged(repository).refused
    assert refused.startswith("1 records of today's source are deleted from results/quick/alone")


@pytest.mark.parametrize(
    "text",
    [
        line("11", source="b") + line("12", source="b"),
        line("1") + line("12", task="find", version=2),
    ],
    ids=["another source", "another version of the task"],
)
def test_records_of_older_code_are_replaced_without_one(text: str, repository: Path) -> None:
    write(repository, "results/quick/alone.jsonl", text)
    assert merged(repository).refused == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON\n",
        "[" * 100_000,
        '{"key": [1], "variant": {"source_hash": []}, "task": 1}\n',
        "7\n",
    ],
    ids=["empty", "words", "nested", "wrong types", "a number"],
)
def test_a_broken_row_is_left_to_cab_verify(text: str, repository: Path) -> None:
    write(repository, "results/quick/mine.jsonl", text)
    found = merged(repository)
    assert (found.rows, found.refused) == (["results/quick/mine.jsonl"], [])


@pytest.mark.parametrize(
    "path",
    ["results/verified/quick/mine.jsonl", *(one for one in FILES if one in REMOVED[2:])],
)
def test_what_no_check_can_repeat_is_to_be_reviewed(path: str, repository: Path) -> None:
    write(repository, path, '{"mine": 1}\n')
    found = merged(repository)
    (review,) = found.review
    assert review.startswith(f"{path} (")
    assert found.rows == []
    assert f"review by hand: {path}" in found.report()


@pytest.mark.parametrize(
    "path",
    [
        "results/mine.jsonl",
        "results/quick/mine.json",
        "results/quick/more/mine.jsonl",
        "results/smoke/mine.jsonl",
        "results/Quick/mine.jsonl",
        "results/page.html",
    ],
)
def test_a_file_without_a_place_in_results_is_refused(path: str, repository: Path) -> None:
    write(repository, path, line("9"))
    found = merged(repository)
    assert found.refused[0].startswith(f"{path} has no place in results/")
    assert found.rows == []


Edit = Callable[[Path], object]
CODE: dict[str, tuple[Edit, list[str], list[str]]] = {
    "a variant": (
        lambda tree: write(
            tree, "variants/linear/alone.py", FILES["variants/linear/alone.py"] + "#"
        ),
        ["alone"],
        ROWS[:1],
    ),
    "a new variant": (
        lambda tree: write(tree, "variants/linear/new.py", VARIANT.format(name="new", imports="")),
        ["new"],
        [],
    ),
    "a renamed variant": (
        lambda tree: (tree / "variants/linear/alone.py").rename(tree / "variants/linear/other.py"),
        ["alone"],
        ROWS,
    ),
    "a deleted variant": (lambda tree: (tree / "variants/linear/alone.py").unlink(), [], ROWS),
    "a helper": (
        lambda tree: write(tree, "variants/linear/_scan.py", "import cab.kernels.scan\nx = 1\n"),
        ["near-it"],
        ROWS[1:2],
    ),
    "a deleted helper": (
        lambda tree: (tree / "variants/linear/_scan.py").unlink(),
        ["near-it"],
        ROWS,
    ),
    "a kernel of a kernel": (
        lambda tree: write(tree, "kernels/tiles.py", "tile = 2\n"),
        ["near-it"],
        ROWS[1:2],
    ),
    "a package that runs when it is imported": (
        lambda tree: write(tree, "variants/linear/__init__.py", "import torch\n"),
        ["alone", "near-it"],
        ROWS[:2],
    ),
    "a table beside the code": (
        lambda tree: write(tree, "kernels/tiles.json", "{}\n"),
        ["near-it"],
        ROWS[1:2],
    ),
    "a helper of a task": (
        lambda tree: write(tree, "tasks/retrieval/_words.py", "words = 2\n"),
        [],
        ROWS,
    ),
}


@pytest.mark.parametrize("kind", CODE)
def test_all_that_imports_a_changed_file_is_to_be_checked(kind: str, repository: Path) -> None:
    edit, variants, related = CODE[kind]
    edit(repository)
    found = merged(repository)
    assert (found.variants, found.related, found.refused) == (variants, related, [])
    assert ("task find changed" in found.report()) == ("task" in kind)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (VARIANT.format(name="--help", imports=""), "the name '--help' must consist"),
        ("def", "not valid Python"),
        ("x = 1\n", "registers nothing"),
    ],
)
def test_a_variant_whose_card_cannot_be_read_is_refused(
    text: str, words: str, repository: Path
) -> None:
    write(repository, "variants/linear/mine.py", text)
    found = merged(repository)
    assert any(words in one for one in found.refused)
    assert found.variants == []


@pytest.mark.parametrize("path", ["cab/registry.py", ".github/workflows/x.yml", "pyproject.toml"])
def test_a_change_of_what_checks_is_to_be_reviewed(path: str, repository: Path) -> None:
    write(repository, path, "# mine\n")
    (review,) = merged(repository).review
    assert path in review
    assert "code that checks this contribution" in review


def test_names_of_files_cannot_forge_lines_of_the_report(repository: Path) -> None:
    name = "results/quick/x\nadded: y\x1b[2J\u202e.jsonl"
    write(repository, name, line("9"))
    found = merged(repository)
    assert found.rows == [name]
    assert all(one.isprintable() for one in found.report().splitlines())
    assert "\nadded: y" not in found.report()


def test_the_program_writes_lists_and_ends_with_1_where_a_change_is_refused(
    repository: Path, tmp_path: Path
) -> None:
    def program(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cab.publishing.contribution", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True)

    write(repository, "results/quick/my row.jsonl", line("9"))
    write(repository, "variants/linear/_scan.py", "")
    merged(repository)
    out = tmp_path / "out"
    done = program("HEAD^1", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / "changes.txt").read_text() == done.stdout
    assert (out / "rows").read_bytes() == b"results/quick/my row.jsonl\0"
    assert (out / "related").read_bytes() == b"results/quick/near-it.jsonl\0"
    assert (out / "variants").read_bytes() == b"near-it\0"
    (repository / "results/quick/alone.jsonl").unlink()
    git(repository, "commit", "--quiet", "--all", "--message=remove")
    refused = program("HEAD~1", str(out))
    assert refused.returncode == 1
    assert refused.stdout.startswith("REFUSED: deleted: results/quick/alone.jsonl")
    unknown = program("nothing", str(out))
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("Error: git merge-base nothing HEAD failed")
    assert "Traceback" not in unknown.stderr


def test_a_folder_that_is_no_repository_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CabError, match="failed: fatal: not a git repository"):
        inspect(tmp_path, "HEAD")
    assert main(["HEAD", os.devnull]) == 2
    assert "not a git repository" in capsys.readouterr().err


def test_every_variant_of_this_project_is_found_by_its_file(tmp_path: Path) -> None:
    """All of variants/ counts as new: as many names are found as the registry holds."""
    from cab.registry import discover_variants

    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message=base")
    for top in ("variants", "kernels", "tasks"):
        for path in (REPOSITORY / top).rglob("*.py"):
            write(tmp_path, path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8"))
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=all")
    found = inspect(tmp_path, "HEAD~1")
    assert sorted(found.variants) == discover_variants().names()
    assert found.refused == []


def test_lines_that_are_nested_without_end_or_too_many_are_no_traceback(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = git(repository, "rev-parse", "HEAD").strip()
    path = "results/quick/near-it.jsonl"
    write(repository, path, "[" * 200_000 + "\n" + line("3") + '{"key": ' + "9" * 5000 + "}\n")
    git(repository, "commit", "--quiet", "--all", "--message=x")
    found = inspect(repository, start)
    assert found.rows == [path]
    assert found.refused == []
    monkeypatch.setattr("cab.publishing.contribution.LARGEST_FILE", 1000)
    (refused,) = inspect(repository, start).refused
    assert refused.endswith("bytes; 1000 are allowed.")
