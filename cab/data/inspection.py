"""Verify local copies of data sets before they are used."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from cab.data.catalogue import get_data_set
from cab.data.sets import DataSet, HubSet, Kind, checksum, locate, locate_part
from cab.errors import CabError

State = Literal["verified", "missing", "wrong"]


def inspect(data_set: DataSet | HubSet, directory: Path) -> tuple[State, str]:
    """Return the state of a local copy, and a message about it.

    If the checksum of a published set is unknown, its columns are checked and, for parquet and
    folders, its number of rows.
    """
    where = directory / data_set.folder
    if isinstance(data_set, HubSet):
        return _inspect_parts(data_set, directory, where)
    files = locate(data_set, directory)
    if not files:
        return "missing", (
            f"Data set {data_set.name} ({data_set.size / 1e6:.1f} MB, {data_set.licence}) is not "
            f"in {where}. Run `cab data fetch {data_set.name}`, or set CAB_DATA to the "
            f"folder of a copy."
        )
    found, problem = "", _not_files(files)
    try:
        found = "" if problem else checksum(files)
    except OSError as error:
        problem = f"it cannot be read ({error})"
    if problem:
        return "wrong", (
            f"Data set {data_set.name} in {where} is not the published one: {problem}. Nothing "
            f"was deleted; move it away and run `cab data fetch {data_set.name}`."
        )
    if found != data_set.sha256:
        return "wrong", (
            f"Data set {data_set.name} in {where} ({data_set.files}) differs from the published "
            f"one: its sha256 is {found} instead of {data_set.sha256}. Nothing was deleted; move "
            f"it away and run `cab data fetch {data_set.name}`."
        )
    return "verified", f"Data set {data_set.name} in {where} is the published one."


def require(names: Iterable[str], directory: Path) -> None:
    """Check that the sets are present and unaltered.

    Raises:
        CabError: a set is missing or altered; the message says how to get it.
    """
    problems = []
    for name in names:
        state, sentence = inspect(get_data_set(name), directory)
        if state != "verified":
            problems.append(sentence)
    if problems:
        raise CabError("\n".join(problems))


def _inspect_parts(data_set: HubSet, directory: Path, where: Path) -> tuple[State, str]:
    mend = (
        f"run `cab data fetch {data_set.name}`, or set CAB_DATA to the folder of a copy"
        if data_set.hub
        else f"download it by hand from {data_set.address}"
    )
    found = {part: locate_part(data_set, directory, part) for part in data_set.parts}
    absent = [data_set.parts[part].files for part, files in found.items() if not files]
    if absent:
        return "missing", (
            f"Data set {data_set.name} ({data_set.size / 1e6:,.1f} MB, {data_set.licence}) is not "
            f"complete in {where}: {', '.join(absent)} missing. "
            f"{mend[0].upper()}{mend[1:]}."
        )
    try:
        for part, files in found.items():
            if problem := _problem(data_set, part, files):
                break
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        problem = f"it cannot be read ({error})"
    if problem:
        return "wrong", (
            f"Data set {data_set.name} in {where} differs from the published one: {problem}. "
            f"Nothing was deleted; move it away and {mend}."
        )
    if all(part.sha256 for part in data_set.parts.values()):
        return "verified", f"Data set {data_set.name} in {where} is the published one."
    return "verified", (
        f"Data set {data_set.name} in {where} has the columns of the published one; its checksum "
        f"is unknown."
    )


def _not_files(files: Iterable[Path]) -> str:
    """Say which of these is a folder, a pipe or a device: such a thing is never opened."""
    return next((f"{path.name} in it is no file" for path in files if not path.is_file()), "")


def _problem(data_set: HubSet, part: str, files: list[Path]) -> str:
    """Return what is wrong with a part, or an empty text."""
    published = data_set.parts[part]
    if problem := _not_files(files):
        return problem
    if published.sha256 and (digest := checksum(files)) != published.sha256:
        return f"the sha256 of {published.files} is {digest} instead of {published.sha256}"
    rows = len(files)
    if data_set.form == "parquet":
        from pyarrow import parquet

        rows = 0
        for path in files:
            rows += parquet.read_metadata(path).num_rows
            if problem := _column_problem(data_set, parquet.read_schema(path)):
                return f"{path.name} {problem}"
    elif data_set.form in ("csv", "tsv", "json"):
        return next(filter(None, (_first_row_problem(data_set, path) for path in files)), "")
    if published.rows and rows != published.rows:
        return f"{published.files} has {rows:,} rows instead of {published.rows:,}"
    return ""


def _column_problem(data_set: HubSet, schema: Any) -> str:
    for name, kind in data_set.columns.items():
        if name not in schema.names:
            return f"has no column {name!r}, only {', '.join(schema.names)}"
        if not _holds(schema.field(name).type, kind):
            return f"has {schema.field(name).type} instead of {kind} in column {name!r}"
    return ""


def _holds(type_: Any, kind: Kind) -> bool:
    """Return whether a pyarrow type can hold values of this kind."""
    from pyarrow import types

    if kind == "text":
        return types.is_string(type_) or types.is_large_string(type_)
    if kind == "list":
        return types.is_list(type_) or types.is_large_list(type_) or types.is_struct(type_)
    if kind in ("image", "audio"):
        return types.is_struct(type_) and type_.get_field_index("bytes") >= 0
    return types.is_integer(type_) or (kind == "number" and types.is_floating(type_))


def _first_row_problem(data_set: HubSet, path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        first = file.readline()
    if data_set.form == "tsv":
        cells = first.count("\t") + 1
        wanted = len(data_set.columns)
        return "" if cells == wanted else f"{path.name} has {cells} columns instead of {wanted}"
    header = first if data_set.form == "json" else next(csv.reader([first]), [])
    lacking = [name for name in data_set.columns if name not in header]
    return f"{path.name} has no column {', '.join(lacking)}" if lacking else ""
