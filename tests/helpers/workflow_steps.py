"""Running the steps of workflows as GitHub runs them, on a copy of this tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from support import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
SHELLS = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
"""What GitHub runs for `shell:` not given and for `shell: bash`."""

COPIED = (
    "cab",
    "kernels",
    "site",
    "tasks",
    "variants",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "pyproject.toml",
)
ROWS = ("softmax", "mean", "none", "linear")

CAB = """#!{python}
# The program of this copy. Cells are not run again here, which would take minutes each.
import os, sys
with open(os.environ["CALLS"], "a") as log:
    log.write(repr(sys.argv[1:]) + "\\n")
pairs = zip(sys.argv, sys.argv[1:])
words = ["0" if before == "--sample" else word for before, word in pairs]
os.execv(sys.executable, [sys.executable, "-P", "-m", "cab", *words])
"""


def read(workflow: str) -> dict[str, Any]:
    """A workflow."""
    document = yaml.safe_load((FOLDER / f"{workflow}.yml").read_text(encoding="utf-8"))
    # In YAML 1.1, which this reads, the key `on` means true.
    return {"on" if key is True else key: value for key, value in document.items()}


def steps(workflow: str) -> list[dict[str, Any]]:
    """All steps of a workflow, in order."""
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


def run_step(
    workflow: str, name: str, folder: Path, path: Path | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run the text of one step in a folder, in the shell that the workflow names for it.

    path: a folder of programs that stand in for others; variables: what GitHub would set.
    """
    (step,) = (one for one in steps(workflow) if one.get("name") == name)
    shell = step.get("shell", read(workflow).get("defaults", {}).get("run", {}).get("shell"))
    assert "${{" not in step["run"], "what GitHub fills in reaches a step by its environment"
    own = dict.fromkeys(step.get("env", {}), "")
    places = [str(path)] if path else []
    environment = {
        **os.environ,
        **own,
        "PATH": os.pathsep.join([*places, os.environ["PATH"]]),
        "PYTHONPATH": str(folder / "lib"),
        "CALLS": str(folder / "calls"),
        "OMP_NUM_THREADS": "1",
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_SHA": "f" * 40,
        "GITHUB_RUN_ID": "12345",
        **variables,
    }
    script = folder.parent / "step.sh"
    script.write_text(step["run"], encoding="utf-8")
    command = [*SHELLS[shell], str(script)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def write(folder: Path, path: str, text: str) -> None:
    """Write a file below a folder."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def program(folder: Path, name: str, text: str) -> Path:
    """Write a program; return its folder."""
    write(folder, name, text)
    (folder / name).chmod(0o755)
    return folder


def copy_tree(folder: Path) -> None:
    """Copy what `cab` and its site are made of, with a few rows, and commit it.

    `lib/cab` puts the packages together as an installation does, so that the code of the copy
    runs and not that of this tree.
    """
    ignored = shutil.ignore_patterns("__pycache__", "public")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    for name in ROWS:
        (folder / "results" / "quick").mkdir(parents=True, exist_ok=True)
        shutil.copy(
            REPOSITORY / "results" / "quick" / f"{name}.jsonl", folder / "results" / "quick"
        )
    library = folder / "lib" / "cab"
    library.mkdir(parents=True)
    for path in (folder / "cab").iterdir():
        (library / path.name).symlink_to(path)
    for name in ("kernels", "site", "tasks", "variants"):
        (library / name).symlink_to(folder / name)
    program(folder / ".venv" / "bin", "cab", CAB.format(python=sys.executable))
    program(folder / ".venv" / "bin", "python", f'#!/bin/sh\nexec {sys.executable} -P "$@"\n')
    write(
        folder, ".gitignore", "/.venv/\n/lib/\n/calls\n/summary\n/before/\n/out/\n__pycache__/\n"
    )
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "base")


def commit(folder: Path, message: str) -> None:
    """Commit everything."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")


def merge(folder: Path) -> None:
    """Make HEAD the merge of the working tree's changes into main, as of a pull request."""
    git(folder, "checkout", "--quiet", "-b", "contribution")
    commit(folder, "contribution")
    git(folder, "checkout", "--quiet", "main")
    git(folder, "merge", "--quiet", "--no-ff", "--message=merge", "contribution")
