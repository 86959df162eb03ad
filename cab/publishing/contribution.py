"""What a contribution changes, and what of it must be checked.

The workflow `contribution` runs `python -m cab.publishing.contribution BASE OUT` on the merge
commit of a pull request. It prints every changed file, and writes for the steps that follow

- `OUT/changes.txt`: what was printed
- `OUT/rows`: changed files of results, to check and to rerun a sample of
- `OUT/related`: unchanged files of results whose variants or tasks changed, to check
- `OUT/variants`: names of variants that changed or import what changed, to hold against the laws

The last three end each item with NUL. Changed tasks are named; the project's tests check them.
Exit 1 if a change is refused, 2 if nothing can be said.
"""

import argparse
import ast
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cab.errors import CabError
from cab.profiles import PROFILES
from cab.publishing.changes import Change, Git, shown
from cab.records.files import parse_json, write_file
from cab.records.results import LARGEST_FILE, VERIFIED
from cab.records.sources import imported_modules
from cab.settings import read_keywords

RESULTS, CHANGELOG = "results", "CHANGELOG.md"
CODE = ("variants", "kernels", "tasks")
"""Folders of the packages `cab.variants` and so on, whose files a contribution may change."""

CHECKERS = (".github", "Makefile", "cab", "pyproject.toml", "site", "tests")
"""What the checks themselves are made of: a green check of a change to it says nothing."""

REVIEWED = {
    VERIFIED: "reruns, which decide the status of a row",
    "certificates": "certificates, which decide whether a task is scored",
    "reference": "tables of other benchmarks",
    "kernels": "measurements of a machine",
    "invariance.json": "what batches and split prompts change",
    "precision.json": "what rounded decode states lose",
    "order.txt": "the order in which the board is measured",
}
"""Folders and files of `results/` that no check can repeat here, and what they hold."""

WORDS = {"A": "added", "M": "changed", "D": "deleted", "R": "renamed", "T": "replaced"}
KINDS = {
    "100644": "a file",
    "100755": "a file",
    "120000": "a symbolic link",
    "160000": "a submodule",
}
GONE = "000000"


@dataclass
class Contribution:
    """What changed in words, what is refused, what a person reviews and what is to be checked."""

    changed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    review: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    related: list[str] = field(default_factory=list)
    variants: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Everything, one item a line."""
        checked = [
            *(f"check variant: {name}" for name in self.variants),
            *(f"check and rerun a sample: {shown(path)}" for path in self.rows),
            *(f"check: {shown(path)}" for path in self.related),
        ]
        lines = [
            *(f"REFUSED: {text}" for text in self.refused),
            *(f"review by hand: {text}" for text in self.review),
            *self.changed,
            *checked,
        ]
        return "".join(line + "\n" for line in lines or ["Nothing changed."])


def inspect(repository: Path, base: str) -> Contribution:
    """Say what the commits since the base changed, and what must be checked.

    Args:
        repository: the work tree, with HEAD checked out.
        base: a commit; the changes are those since its last common ancestor with HEAD.

    Raises:
        CabError: Git knows no such commit, or this is no repository.
    """
    git = Git(repository)
    start = git.text("merge-base", base, "HEAD").strip()
    changes = list(git.changes(start))
    found = Contribution()
    notes = git.added_lines(start, CHANGELOG) if any(c.path == CHANGELOG for c in changes) else ""
    for change in changes:
        title = f"{WORDS[change.letter]}: {shown(change.path)}"
        if change.former:
            title = f"{WORDS[change.letter]}: {shown(change.former)} -> {shown(change.path)}"
        top = change.path.split("/")[0]
        if top in (RESULTS, *CODE) and KINDS.get(change.mode) != "a file" and change.mode != GONE:
            found.refused.append(
                f"{shown(change.path)} is {KINDS.get(change.mode, 'no file')}; in {top}/ only "
                f"regular files are accepted."
            )
        elif top in CHECKERS:
            found.review.append(f"{title} (code that checks this contribution)")
        elif top == RESULTS and change.letter != "D":
            title += _place(change, found, git, start, notes)
        if change.removed.startswith(f"{RESULTS}/"):
            _removed(change.removed, notes, found)
        found.changed.append(title)
    _affected(repository, changes, found)
    return found


def _place(change: Change, found: Contribution, git: Git, start: str, notes: str) -> str:
    """Sort a file of results that is there now; return what to add to its title."""
    parts = PurePosixPath(change.path).parts
    folder = parts[1] if len(parts) > 2 else ""
    held = folder or parts[-1]
    if held in REVIEWED:
        found.review.append(f"{shown(change.path)} ({REVIEWED[held]})")
        return ""
    if change.path == f"{RESULTS}/README.md":
        return ""
    profile = PROFILES.get(folder)
    if len(parts) != 3 or profile is None or not profile.scored or not parts[2].endswith(".jsonl"):
        scored = ", ".join(name for name, one in PROFILES.items() if one.scored)
        found.refused.append(
            f"{shown(change.path)} has no place in {RESULTS}/: published rows are "
            f"{RESULTS}/PROFILE/VARIANT.jsonl, with PROFILE one of {scored}."
        )
        return ""
    found.rows.append(change.path)
    old = _records(git.content(start, change.former or change.path))
    place = git.folder / change.path
    if (size := place.stat().st_size) > LARGEST_FILE:
        found.refused.append(f"{shown(change.path)} has {size} bytes; {LARGEST_FILE} are allowed.")
        return ""
    new = _records(place.read_bytes())
    withdrawn = _withdrawn(old, new)
    if withdrawn and not _explained(change.path, notes):
        found.refused.append(
            f"{withdrawn} records of today's source are deleted from {shown(change.path)}. "
            f"{_reason(change.path)}"
        )
    more = len(new.keys() - old.keys())
    less = len(old.keys() - new.keys())
    other = sum(old[key] != new[key] for key in old.keys() & new.keys())
    return f" ({more} records added, {other} changed, {less} deleted)"


def _removed(path: str, notes: str, found: Contribution) -> None:
    if not _explained(path, notes):
        found.refused.append(f"deleted: {shown(path)}. {_reason(path)}")


def _explained(path: str, notes: str) -> bool:
    name = re.escape(PurePosixPath(path).stem)
    return re.search(rf"(?<![\w-]){name}(?![\w-])", notes) is not None


def _reason(path: str) -> str:
    name = shown(PurePosixPath(path).stem)
    return f"Results are removed with a reason: add a line to {CHANGELOG} that names {name}."


def _records(content: bytes) -> dict[str, Any]:
    """The records of a file by key; a line that is none is left for `cab verify` to name."""
    found = {}
    for line in content.splitlines():
        try:
            record = parse_json(line.decode("utf-8"))
            found[str(record["key"])] = record
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _withdrawn(old: Mapping[str, Any], new: Mapping[str, Any]) -> int:
    """How many records went although the code that they are of did not change."""

    def code(record: Any) -> tuple[str, str, str]:
        try:
            task = record["task"]
            return str(record["variant"]["source_hash"]), str(task["name"]), str(task["version"])
        except (TypeError, KeyError):
            return "", "", ""

    sources = {code(record)[0] for record in new.values()}
    newest = {(source, task): version for source, task, version in map(code, new.values())}
    gone = (code(old[key]) for key in old.keys() - new.keys())
    return sum(
        source in sources and newest.get((source, task), version) == version
        for source, task, version in gone
    )


def _affected(repository: Path, changes: Sequence[Change], found: Contribution) -> None:
    """Find the variants and tasks that changed or import what changed, and the rows of them."""
    paths = {path for change in changes for path in (change.path, change.former) if path}
    modules = {_module(path) for path in paths if path.split("/")[0] in CODE and "/" in path}
    if not modules:
        return
    imports = dict(_imports(repository, found))
    reached = modules
    while reached:
        before = set(modules)
        modules |= {name for name, (_, needed) in imports.items() if needed & reached}
        reached = modules - before
    for module in sorted(modules & imports.keys()):
        path = imports[module][0]
        top = path.relative_to(repository).parts[0]
        if top == "kernels" or path.name.startswith("_"):
            continue
        try:
            name = read_keywords(path, f"register_{top[:-1]}")["name"]
        except CabError as error:
            found.refused.append(str(error))
            continue
        if top == "variants":
            found.variants.append(name)
        else:
            text = f"task {name} changed; its version rises if its examples or its recipe changed"
            found.review.append(text)
    # A row may hold records of any task, and of a variant whose file is deleted.
    everything = any(module.startswith("cab.tasks.") for module in modules)
    everything |= any(one.removed.split("/")[0] in CODE for one in changes)
    for path in sorted(repository.glob(f"{RESULTS}/*/*.jsonl")):
        name = path.relative_to(repository).as_posix()
        profile = PROFILES.get(path.parent.name)
        concerned = everything or path.stem in found.variants
        if profile and profile.scored and concerned and name not in found.rows:
            found.related.append(name)


def _module(path: str) -> str:
    """The module of a file; of one that is not Python, the package in whose folder it lies."""
    place = PurePosixPath(path)
    parts = place.with_suffix("").parts if place.suffix == ".py" else place.parent.parts
    return ".".join(("cab", *parts)).removesuffix(".__init__")


def _imports(repository: Path, found: Contribution) -> Iterator[tuple[str, tuple[Path, set[str]]]]:
    """Each module of the code with its file and all that runs when it is imported."""
    for top in CODE:
        for path in sorted((repository / top).rglob("*.py")):
            name = path.relative_to(repository).as_posix()
            try:
                needed = set(imported_modules(ast.parse(path.read_bytes())))
            except (SyntaxError, ValueError, OSError, RecursionError) as error:
                found.refused.append(f"{shown(name)} is not valid Python: {error}.")
                needed = set()
            # Importing a module runs the packages that it lies in.
            needed |= {one for module in (_module(name), *needed) for one in _packages(module)}
            yield _module(name), (path, needed)


def _packages(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts)))


def _items(items: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(item) + b"\0" for item in items)


def main(arguments: Sequence[str] | None = None) -> int:
    """Inspect the repository of the working directory; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cab.publishing.contribution")
    parser.add_argument("base", help="The commit that the contribution is compared with.")
    parser.add_argument("out", type=Path, help="The folder for the lists of what must be checked.")
    given = parser.parse_args(arguments)
    try:
        found = inspect(Path.cwd(), given.base)
        given.out.mkdir(parents=True, exist_ok=True)
        write_file(given.out / "changes.txt", found.report(), "What changed")
        for name in ("rows", "related", "variants"):
            (given.out / name).write_bytes(_items(getattr(found, name)))
    except (CabError, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    sys.stdout.write(found.report())
    return 1 if found.refused else 0


if __name__ == "__main__":
    sys.exit(main())
