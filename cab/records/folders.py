"""Where published results are read from and written to, decided for all commands.

The installed package holds the published results, so that they are at hand in any folder.
"""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import cab
from cab.errors import CabError
from cab.records.results import Verification, matching, read_results
from cab.records.store import Record

RESULTS = "results"
PROJECT_NAME = 'name = "comprehensive-attention-benchmark"'
VARIABLE = "CAB_RESULTS"
"""The environment variable that names a folder of results, as `--results` does."""


@dataclass(frozen=True)
class Published:
    """A profile's published results.

    problems holds a sentence for each file that cannot be read, notes one for each variant whose
    own records replace those of the package.
    """

    records: list[Record]
    verifications: list[Verification]
    problems: list[str]
    notes: list[str]


@dataclass(frozen=True)
class ResultsFolders:
    """The folders of published results that are read as one.

    own is the user's folder, or the only one; `cab publish` writes there. packaged holds what was
    published with the installed package, where that is read too.
    """

    own: Path
    packaged: Path | None = None

    def __str__(self) -> str:
        return f"{self.own} (with the published results)" if self.packaged else str(self.own)

    @property
    def project(self) -> Path:
        """The folder whose CHANGELOG and CONTRIBUTING belong to these results."""
        return (self.packaged or self.own).resolve().parent

    def read(self, profile: str, references: Collection[str] = ()) -> Published:
        """Read a profile's records: the packaged ones, and the user's in their place.

        A variant of which the user has records is the user's alone. Of the `references` (softmax
        and none), from which every score is made, the packaged records are kept on the tasks that
        the user's do not cover.
        """
        records, verifications, problems = read_results(self.own, profile)
        if self.packaged is None:
            verifications, ignored = matching(records, verifications)
            return Published(records, verifications, problems + ignored, [])
        packaged, reruns, more = read_results(self.packaged, profile)
        own_tasks: dict[str, set[str]] = {}
        for record in records:
            own_tasks.setdefault(record.variant.name, set()).add(record.task.name)

        def stays(record: Record) -> bool:
            tasks = own_tasks.get(record.variant.name)
            if tasks is None:
                return True
            return record.variant.name in references and record.task.name not in tasks

        kept = [record for record in packaged if stays(record)]
        keys = {record.key for record in kept}
        replaced: dict[str, set[str]] = {}
        for record in packaged:
            if record.key not in keys:
                replaced.setdefault(record.variant.name, set()).add(record.task.name)
        both = {record.variant.name for record in kept} & replaced.keys()
        notes = [
            f"Your {profile} records of {name} in {self.own} replace the published ones"
            + (f" on {', '.join(sorted(tasks))}." if name in both else ".")
            for name, tasks in sorted(replaced.items())
        ]
        # A rerun of a published record says nothing about the record that replaces it.
        reruns, ignored = matching(kept, [one for one in reruns if one.key in keys])
        own, others = matching(kept + records, verifications)
        problems += [*more, *ignored, *others]
        return Published(kept + records, reruns + own, problems, notes)

    def files(self, folder: str, pattern: str) -> tuple[list[Path], list[str]]:
        """Return the files of a subfolder by name; a file of the user's replaces its namesake.

        Returns:
            the files, and a sentence for each one that was replaced.
        """
        found: dict[str, Path] = {}
        notes = []
        if self.packaged is not None:
            found = {path.name: path for path in (self.packaged / folder).glob(pattern)}
        for path in sorted((self.own / folder).glob(pattern)):
            if path.name in found:
                notes.append(f"Your {path} replaces the published file of that name.")
            found[path.name] = path
        return [found[name] for name in sorted(found)], notes


def results_folders(given: Path | None = None) -> ResultsFolders:
    """Decide where results are read from.

    The folder that is given, or that CAB_RESULTS names, alone. Else, inside a checkout of CAB, its
    `results` alone. In any other folder, the user's `./results` together with the results that
    were published with the installed package.
    """
    named = os.environ.get(VARIABLE)
    if given is not None or named:
        return ResultsFolders(given if given is not None else Path(named or ""))
    here = Path.cwd()
    checkout = next((one for one in (here, *here.parents) if is_checkout(one)), None)
    if checkout is not None:
        return ResultsFolders(Path(RESULTS) if checkout == here else checkout / RESULTS)
    return ResultsFolders(Path(RESULTS), packaged_results())


def folders_around(file: Path) -> ResultsFolders:
    """The folders that a file `<folder>/<profile>/<variant>.jsonl` is read together with."""
    usual, own = results_folders(), file.parent.parent
    return usual if usual.own.resolve() == own.resolve() else ResultsFolders(own)


def is_checkout(folder: Path) -> bool:
    """Whether a folder is the top of a clone of CAB."""
    try:
        return PROJECT_NAME in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def packaged_results() -> Path | None:
    """The results that came with CAB: in the installed package, or in the clone it runs from."""
    package = Path(cab.__file__).resolve().parent
    inside = package / RESULTS
    if inside.is_dir():
        return inside
    beside = package.parent / RESULTS
    return beside if is_checkout(package.parent) and beside.is_dir() else None


def refuse_package(paths: Iterable[Path]) -> None:
    """Keep commands from writing into the installed package.

    Raises:
        CabError: one of the paths lies in the package's folder.
    """
    package = Path(cab.__file__).resolve().parent
    for path in paths:
        if path.resolve().is_relative_to(package):
            raise CabError(
                f"{path} is inside the installed package, whose results are read-only. Copy the "
                f"file to results/<profile>/<variant>.jsonl in a folder of your own."
            )
