"""Download a data set, verify it, and only then move it to its place."""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from cab.data import DataSet, HubSet, checksum, inspect
from cab.data.sets import checksum_of
from cab.data.transfer import Progress, download, unwritable
from cab.errors import CabError

LARGER = 2
"""How often the published size a download may have; archives are packed anew at times."""
EXPANSION = 20
"""How often the size of its download an archive's content may have, beside a mebibyte."""

UNPACKING = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError)
"""What a damaged archive raises."""


def fetch(
    data_set: DataSet | HubSet,
    directory: Path,
    progress: Progress = lambda done, total: None,
) -> str:
    """Download a data set into `directory` unless it has a verified copy; return a message.

    An interrupted download leaves NAME.part, and the next call resumes it if the server allows.
    Files of the user are never replaced.

    Raises:
        CabError: the address cannot be reached, or the download has the wrong checksum.
    """
    state, sentence = inspect(data_set, directory)
    if state == "verified":
        return sentence
    if state == "wrong":
        raise CabError(sentence)
    folder = directory / data_set.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    if isinstance(data_set, HubSet):
        from cab.data.hub import fetch_parts

        return fetch_parts(data_set, directory)
    part = folder / f"{data_set.name}.part"
    download(data_set.address, part, LARGER * data_set.size, progress)
    try:
        found = _found(data_set, part)
    except UNPACKING as error:
        found = f"none, as it cannot be unpacked ({error})"
    if found != data_set.sha256:
        part.unlink()
        raise CabError(
            f"The download from {data_set.address} is not data set {data_set.name}: its "
            f"sha256 is {found} instead of {data_set.sha256}. The download was "
            f"deleted; rerun the command, since the connection may have failed."
        )
    target = folder / PurePosixPath(data_set.files).parent
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as scratch:
            _unpack(data_set, part, Path(scratch))
            target.mkdir(parents=True, exist_ok=True)
            for path in Path(scratch).iterdir():
                path.replace(target / path.name)
    except OSError as error:
        raise unwritable(target, error) from None
    part.unlink(missing_ok=True)
    return f"Data set {data_set.name} was downloaded to {folder} and verified."


def _found(data_set: DataSet, part: Path) -> str:
    """The checksum of what was downloaded; of an archive, of the wanted files inside.

    Nothing is unpacked for it.
    """
    if not data_set.member:
        return checksum([part])
    digests: dict[str, str] = {}
    for name, content in _members(data_set, part):
        digests[name] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    return checksum_of((digests[name], name) for name in sorted(digests))


def _unpack(data_set: DataSet, part: Path, scratch: Path) -> None:
    """Put the files that were downloaded into `scratch`."""
    if not data_set.member:
        shutil.copy(part, scratch / PurePosixPath(data_set.files).name)
        return
    for name, content in _members(data_set, part):
        with (scratch / name).open("wb") as file:
            shutil.copyfileobj(content, file)


def _members(data_set: DataSet, part: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each wanted file of an archive, in its order."""
    wanted, most = data_set.files, EXPANSION * data_set.size + (1 << 20)
    with gzip.open(part) as unpacked, _tar(_Bounded(unpacked, most)) as archive:
        for member in archive:
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if member.isfile() and inside.match(wanted):
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                yield inside.name, content


def _tar(file: "_Bounded") -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|")  # type: ignore[call-overload]


class _Bounded:
    """Reads at most so many bytes of a file, so that a small archive cannot unpack to no end."""

    def __init__(self, file: gzip.GzipFile, most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError("it holds more than the published archive")
        return data
