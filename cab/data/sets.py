"""The description of a data set, the location of its files, and their checksum."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DataSet:
    """A small public data set whose files have a known checksum.

    Attributes:
        files: a glob below `folder`.
        sha256: the hash of the file or, for several files, of the list that `sha256sum` prints for
            them in C order.
        size: bytes of the download.
        address: the address of the file, or of a .tar.gz archive.
        member: the folder of the wanted files in the archive; empty for a single file.
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
"""The file format of a published set. json has one row per line, text one row per file; tsv has no
header and no quotes; in imagefolder and audiofolder the name of a file's folder is its label."""

Kind = Literal["text", "integer", "number", "list", "image", "audio"]
"""The type of the values of a column."""


@dataclass(frozen=True)
class Part:
    """One published part: a glob below the set's folder, as in the hub's repository.

    If rows is 0 or sha256 (as in `DataSet`) is empty, it is unknown.
    """

    files: str
    rows: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class HubSet:
    """A large published data set: unmodified local files, or those of the Hugging Face hub.

    Attributes:
        hub: the id on the hub; if empty, users download the set by hand from `address`.
        revision: a commit or branch on the hub.
        parts: the publisher's parts, by name.
        columns: the columns that tasks read; for tsv, all columns in order.
        size: bytes of the download.
        split: how tasks divide the parts into train, valid and test.
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
        """The address of the set, for messages."""
        return self.address or f"https://huggingface.co/datasets/{self.hub} at {self.revision}"


def data_directory(given: Path | None = None) -> Path:
    """Return the folder of data sets: `given`, otherwise CAB_DATA, otherwise the user's cache."""
    if given is not None:
        return given.expanduser().resolve()
    if os.environ.get("CAB_DATA"):
        return Path(os.environ["CAB_DATA"]).expanduser().resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "cab" / "data"


def locate(data_set: DataSet | HubSet, directory: Path) -> list[Path]:
    """Return the files of a set below a data directory, in C order; empty if there are none."""
    if isinstance(data_set, HubSet):
        return [path for part in data_set.parts for path in locate_part(data_set, directory, part)]
    return sorted((directory / data_set.folder).glob(data_set.files), key=lambda path: path.name)


def locate_part(data_set: HubSet, directory: Path, part: str) -> list[Path]:
    """Return the files of one published part, in the order of their paths."""
    return sorted((directory / data_set.folder).glob(data_set.parts[part].files))


def checksum(files: Iterable[Path]) -> str:
    """Return the sha256 of one file, or of the sha256sum list of several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append((hashlib.file_digest(file, "sha256").hexdigest(), path.name))
    return checksum_of(digests)


def checksum_of(digests: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 of one file, or of the sha256sum list, from digests and names."""
    digests = list(digests)
    if len(digests) == 1:
        return digests[0][0]
    listing = "".join(f"{digest}  {name}\n" for digest, name in digests)
    return hashlib.sha256(listing.encode()).hexdigest()
