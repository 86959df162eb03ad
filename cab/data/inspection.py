"""Whether a local copy of a data set is the published one: verified before use, never trusted."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from cab.data.catalogue import get_data_set
from cab.data.sets import DataSet, HubSet, Kind, checksum, locate, locate_part
from cab.errors import CabError

State = Literal["verified", "missing", "wrong"]


def inspect(data_set: DataSet | HubSet, directory: Path) -> tuple[State, str]:
    """Return the state of a local copy and one sentence about it.

    A published set whose checksum is not known is held against its columns and, where reading is
    quick (parquet and folders), its number of rows; the sentence says which.
    """
    where = directory / data_set.folder
    if isinstance(data_set, HubSet):
        return _inspect_parts(data_set, directory, where)
    files = locate(data_set, directory)
    if not files:
        return "missing", (
            f"Data set {data_set.name} ({data_set.size / 1e6:.1f} MB, {data_set.licence}) is not "
            f"in {where}. Run `cab data fetch {data_set.name}`, or point CAB_DATA at a copy."
        )
    found = checksum(files)
    if found != data_set.sha256:
        return "wrong", (
            f"Data set {data_set.name} in {where} ({data_set.files}) is not the published one: "
            f"its sha256 is {found}, it should be {data_set.sha256}. Nothing was deleted; move "
            f"it away and run `cab data fetch {data_set.name}`."
        )
    return "verified", f"Data set {data_set.name} in {where} is the published one."


def require(names: Iterable[str], directory: Path) -> None:
    """Check that the sets are there and right.

    Raises:
        CabError: a set is missing or altered; the message names the command that mends it.
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
        f"run `cab data fetch {data_set.name}`, or point CAB_DATA at a copy"
        if data_set.hub
        else f"bring it from {data_set.address}, as it cannot be fetched"
    )
    found = {part: locate_part(data_set, directory, part) for part in data_set.parts}
    absent = [data_set.parts[part].files for part, files in found.items() if not files]
    if absent:
        return "missing", (
            f"Data set {data_set.name} ({data_set.size / 1e6:,.1f} MB, {data_set.licence}) is not "
            f"complete in {where}: there is no {', no '.join(absent)}. "
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
            f"Data set {data_set.name} in {where} is not the published one: {problem}. Nothing "
            f"was deleted; move it away and {mend}."
        )
    if all(part.sha256 for part in data_set.parts.values()):
        return "verified", f"Data set {data_set.name} in {where} is the published one."
    return "verified", (
        f"Data set {data_set.name} in {where} has the form of the published one; CAB knows no "
        f"checksum of it."
    )


def _problem(data_set: HubSet, part: str, files: list[Path]) -> str:
    """Say what is wrong with a part; nothing if it is right."""
    published = data_set.parts[part]
    if published.sha256 and (digest := checksum(files)) != published.sha256:
        return f"the sha256 of {published.files} is {digest}, it should be {published.sha256}"
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
        return f"{published.files} holds {rows:,} rows and should hold {published.rows:,}"
    return ""


def _column_problem(data_set: HubSet, schema: Any) -> str:
    for name, kind in data_set.columns.items():
        if name not in schema.names:
            return f"has no column {name!r}, only {', '.join(schema.names)}"
        if not _holds(schema.field(name).type, kind):
            return f"holds {schema.field(name).type} in {name!r}, and {kind} is expected"
    return ""


def _holds(type_: Any, kind: Kind) -> bool:
    """Whether a column of this pyarrow type can hold what it should."""
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
        return "" if cells == wanted else f"{path.name} has {cells} columns and not {wanted}"
    header = first if data_set.form == "json" else next(csv.reader([first]), [])
    lacking = [name for name in data_set.columns if name not in header]
    return f"{path.name} has no column {', '.join(lacking)}" if lacking else ""
