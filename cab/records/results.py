"""The published results: `results/<profile>/<variant>.jsonl`, a record a line, sorted by key.

The folder is the leaderboard's only source. Its files are canonical, so that a pull request shows
what changed: one way to write a record, curves thinned, paths of the author's machine cut short.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cab.errors import CabError
from cab.profiles import PROFILES, TUNED, TUNED_PROFILES
from cab.records.copies import without_copies
from cab.records.store import CurvePoint, Environment, Finite, Record
from cab.taxonomy import NAME

CURVE_POINTS = 12
"""How many points of a curve are published."""

LARGEST_FILE = 10_000_000
"""Bytes of a file of results that are read: hundreds of cells take a tenth of it."""

VERIFIED = "verified"
"""The folder, beside those of the profiles, in which re-runs are kept."""


class Verification(BaseModel):
    """One published cell, run again: its value then and now, and where now should lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    task: str
    seed: int
    published: Finite
    value: Finite
    low: Finite
    high: Finite
    environment: Environment
    git_revision: str | None

    @property
    def inside(self) -> bool:
        """Whether the re-run lies in the interval."""
        return self.low <= self.value <= self.high


def canonical_line(item: Record | Verification) -> str:
    """The one way to write an item: sorted keys, no blanks, no NaN; without the line's end."""
    data = item.model_dump(mode="json")
    text = json.dumps(
        data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    # These two end a line for some readers, though not for JSON.
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def for_publication(record: Record) -> Record:
    """Thin the curve, and cut absolute paths in the command short to their last part."""
    words = [
        Path(word).name if Path(word).is_absolute() else word
        for word in _words(record.provenance.command)
    ]
    provenance = record.provenance.model_copy(update={"command": shlex.join(words)})
    return record.model_copy(update={"curve": thinned(record.curve), "provenance": provenance})


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def thinned(curve: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    """At most `CURVE_POINTS` points, evenly spread, the last among them; losses in six digits."""
    n = len(curve)
    kept = min(n, CURVE_POINTS)
    places = [(step + 1) * n // kept - 1 for step in range(kept)]
    return tuple(
        curve[place].model_copy(update={"loss": float(f"{curve[place].loss:.6g}")})
        for place in places
    )


def results_file(folder: Path, profile: str, variant: str) -> Path:
    """Where a variant's records of a profile are published.

    Raises:
        CabError: the name could lead out of the folder.
    """
    if not NAME.fullmatch(variant):
        raise CabError(
            f"{variant!r} cannot name a file of results: use lower-case letters, digits and "
            f"single hyphens."
        )
    return folder / profile / f"{variant}.jsonl"


def publishable(record: Record) -> str:
    """Say why a record is not to be published; nothing if it is."""
    if not PROFILES[record.task.profile].scored:
        return f"profile {record.task.profile} is never scored"
    if record.variant.unchecked:
        return "it ran without the proof of conformance"
    if record.status == "error":
        return "it ended in error"
    tuned = {TUNED} if record.task.profile in TUNED_PROFILES else set()
    if set(record.settings.changed) - tuned:
        return "its training was changed, so it compares with nothing"
    return ""


def write_results(path: Path, records: Iterable[Record]) -> int:
    """Publish a variant's records beside those that are published already; return how many.

    Of equal keys the given record replaces the published one. Records of a source other than that
    of the newest given record are dropped: they are results of another mechanism.

    Raises:
        CabError: the file that is there is not one of results, or cannot be written; or a given
            record is of a cell that is published under another key.
    """
    records = list(records)
    by_key = {record.key: record for record in read_file(path)} if path.exists() else {}
    by_key |= {record.key: for_publication(record) for record in records}
    newest = max(records, key=lambda one: (one.provenance.ended, one.key))
    source = newest.variant.source_hash
    kept = [by_key[key] for key in sorted(by_key) if by_key[key].variant.source_hash == source]
    _refuse_copies((f"{path} ({one.key})", one) for one in kept)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(canonical_line(one) + "\n" for one in kept), encoding="utf-8")
    except OSError as error:
        raise CabError(f"{path} cannot be written: {error}.") from None
    return len(kept)


def read_file(path: Path) -> list[Record]:
    """Read a file of results.

    Raises:
        CabError: it cannot be read, a line is no record, or two are of one cell under different
            keys; the message says which.
    """
    lines = [(number, _parse(Record, line, path, number)) for number, line in _lines(path)]
    _refuse_copies((f"{path}, line {number}", record) for number, record in lines)
    return [record for _, record in lines]


def _refuse_copies(placed: Iterable[tuple[object, Record]]) -> None:
    if problems := without_copies(placed)[1]:
        raise CabError(problems[0])


def read_verifications(path: Path) -> list[Verification]:
    """Read a file of re-runs; none if there is no file.

    Raises:
        CabError: as `read_file`.
    """
    if not path.exists():
        return []
    return [_parse(Verification, line, path, number) for number, line in _lines(path)]


def read_results(folder: Path, profile: str) -> tuple[list[Record], list[Verification], list[str]]:
    """All records and re-runs of a profile, and a sentence for each file that cannot be read."""
    records: list[Record] = []
    verifications: list[Verification] = []
    problems = []
    for path in sorted((folder / profile).glob("*.jsonl")):
        try:
            records += read_file(path)
        except CabError as error:
            problems.append(str(error))
    for path in sorted((folder / VERIFIED / profile).glob("*.jsonl")):
        try:
            verifications += read_verifications(path)
        except CabError as error:
            problems.append(str(error))
    return records, verifications, problems


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise CabError(f"{path} has {size} bytes; {LARGEST_FILE} are allowed.")
        # Split at \n alone: other separators may stand in a string.
        return list(enumerate(path.read_bytes().decode("utf-8").rstrip("\n").split("\n"), 1))
    except (OSError, UnicodeDecodeError) as error:
        raise CabError(f"{path} cannot be read: {error}.") from None


Item = TypeVar("Item", Record, Verification)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _parse(kind: type[Item], line: str, path: Path, number: int) -> Item:
    try:
        return kind.model_validate(json.loads(line, parse_constant=_refuse))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise CabError(f"{path}, line {number}: {where}: {first['msg']}.") from None
    except (ValueError, RecursionError) as error:
        raise CabError(f"{path}, line {number} is not JSON: {error}.") from None
