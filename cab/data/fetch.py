"""Download a data set, verify it, and only then move it to its place."""

import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from cab.data import DataSet, HubSet, checksum, inspect
from cab.errors import CabError

Progress = Callable[[int, int], None]
"""Called with the bytes so far and the total, or 0 if the total is unknown."""


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
        raise _unwritable(folder, error) from None
    if isinstance(data_set, HubSet):
        from cab.data.hub import fetch_parts

        return fetch_parts(data_set, directory)
    part = folder / f"{data_set.name}.part"
    _download(data_set.address, part, progress)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as scratch:
        try:
            unpacked = _unpack(data_set, part, Path(scratch))
            found = checksum(unpacked)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            unpacked, found = [], f"none, as it cannot be unpacked ({error})"
        if found != data_set.sha256:
            part.unlink()
            raise CabError(
                f"The download from {data_set.address} is not data set {data_set.name}: its "
                f"sha256 is {found} instead of {data_set.sha256}. The download was "
                f"deleted; rerun the command, since the connection may have failed."
            )
        target = folder / PurePosixPath(data_set.files).parent
        target.mkdir(parents=True, exist_ok=True)
        for path in unpacked:
            path.replace(target / path.name)
    part.unlink(missing_ok=True)
    return f"Data set {data_set.name} was downloaded to {folder} and verified."


def _download(address: str, part: Path, progress: Progress) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            resumed = response.status == 206
            done = done if resumed else 0
            length = int(response.headers.get("Content-Length") or 0)
            total = done + length if length else 0
            with _open(part, "ab" if resumed else "wb") as file:
                while block := response.read(1 << 16):
                    file.write(block)
                    done += len(block)
                    progress(done, total)
            if done < total:
                raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the partial file is already complete
            return
        raise CabError(
            f"{address} answered {error.code} {error.reason}; nothing was downloaded."
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # interrupted
        reason = getattr(error, "reason", error)
        raise CabError(
            f"{address} cannot be reached ({reason}). Rerun the command to resume the "
            f"download in {part}, or copy the data set by hand and set CAB_DATA to its folder."
        ) from None


def _open(part: Path, mode: str) -> BinaryIO:
    try:
        return cast(BinaryIO, part.open(mode))
    except OSError as error:
        raise _unwritable(part, error) from None


def _unwritable(path: Path, error: OSError) -> CabError:
    return CabError(f"{path} cannot be written: {error}. Choose another folder with --data-dir.")


def _unpack(data_set: DataSet, part: Path, scratch: Path) -> list[Path]:
    """Unpack the wanted files into `scratch`; return them in C order."""
    if not data_set.member:
        name = PurePosixPath(data_set.files).name
        return [Path(shutil.copy(part, scratch / name))]
    wanted = PurePosixPath(data_set.files)
    with tarfile.open(part) as archive:
        for member in archive:
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if member.isfile() and inside.match(str(wanted)):
                member.name = inside.name
                archive.extract(member, scratch, filter="data")
    return sorted(scratch.iterdir(), key=lambda path: path.name)
