"""What a data set says of itself, where its files are, and their checksum."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DataSet:
    """A small public data set, known byte for byte.

    files is a glob below `folder`. sha256 is that of the one file, or, for many, of the listing
    that `sha256sum` prints for them in C order. address is the file, or a .tar.gz archive whose
    members below `member` are wanted.
    """

    name: str
    summary: str
    folder: str
    files: str
    sha256: str
    size: int
    licence: str
    address: str
    split: str
    member: str = ""


Form = Literal["parquet", "csv", "tsv", "json", "text", "imagefolder", "audiofolder"]
"""How a published set is stored. json is a row a line, text a file a row; tsv has no header and
no quotes; in the folders the name of a file's folder is its label."""

Kind = Literal["text", "integer", "number", "list", "image", "audio"]
"""What a column holds."""


@dataclass(frozen=True)
class Part:
    """One published part: a glob below the set's folder, as in the hub's repository.

    rows is 0, and sha256 (as in `DataSet`) empty, where they are not known.
    """

    files: str
    rows: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class HubSet:
    """A large published data set: local files as they are published, or the Hugging Face hub's.

    hub is its id there, revision a commit or branch. Without an id it is brought by hand from
    `address`. parts are the publisher's; how a task divides them is said by `split`. columns are
    those that tasks read; in a tsv, all of them in order.
    """

    name: str
    summary: str
    folder: str
    hub: str
    revision: str
    form: Form
    parts: Mapping[str, Part]
    columns: Mapping[str, Kind]
    size: int
    licence: str
    split: str
    address: str = ""
    notes: str = field(default="", kw_only=True)

    @property
    def origin(self) -> str:
        """Where it is from, for people."""
        return self.address or f"https://huggingface.co/datasets/{self.hub} at {self.revision}"


def data_directory(given: Path | None = None) -> Path:
    """Where data sets live: the given folder, else CAB_DATA, else the user's cache."""
    if given is not None:
        return given.expanduser().resolve()
    if os.environ.get("CAB_DATA"):
        return Path(os.environ["CAB_DATA"]).expanduser().resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "cab" / "data"


def locate(data_set: DataSet | HubSet, directory: Path) -> list[Path]:
    """The files of a set below a data directory, in C order; empty if there are none."""
    if isinstance(data_set, HubSet):
        return [path for part in data_set.parts for path in locate_part(data_set, directory, part)]
    return sorted((directory / data_set.folder).glob(data_set.files), key=lambda path: path.name)


def locate_part(data_set: HubSet, directory: Path, part: str) -> list[Path]:
    """The files of one published part, in the order of their paths."""
    return sorted((directory / data_set.folder).glob(data_set.parts[part].files))


def checksum(files: Iterable[Path]) -> str:
    """The sha256 of one file, or of the sha256sum listing of several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append((hashlib.file_digest(file, "sha256").hexdigest(), path.name))
    if len(digests) == 1:
        return digests[0][0]
    listing = "".join(f"{digest}  {name}\n" for digest, name in digests)
    return hashlib.sha256(listing.encode()).hexdigest()
