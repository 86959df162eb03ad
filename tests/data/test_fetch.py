"""Fetching, from a server on this machine: whatever happens, the user's files are not harmed."""

import hashlib
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import Site, archive, serve

from cab.data import DataSet, inspect, transfer
from cab.data import fetch as fetching
from cab.data.fetch import fetch
from cab.errors import CabError

TEXT = b"".join(b"%d line of a small file\n" % n for n in range(20_000))
SOUNDS = {f"{n}.wav": bytes([n]) * 1000 for n in range(12)}


@pytest.fixture
def site() -> Iterator[Site]:
    members = {f"top-1a2b/recordings/{name}": sound for name, sound in SOUNDS.items()}
    others = {"top-1a2b/README.md": b"read me", "top-1a2b/recordings/x.txt": b"not a sound"}
    with serve({"/input.txt": TEXT, "/all.tar.gz": archive(others | members)}) as found:
        yield found


@pytest.fixture
def small(site: Site) -> DataSet:
    digest = hashlib.sha256(TEXT).hexdigest()
    address = site.address + "/input.txt"
    return DataSet("small", "", "text", "input.txt", digest, len(TEXT), "none", address, "")


@pytest.fixture
def packed(site: Site) -> DataSet:
    digests = {name: hashlib.sha256(sound).hexdigest() for name, sound in SOUNDS.items()}
    listing = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    digest = hashlib.sha256(listing.encode()).hexdigest()
    address, files = site.address + "/all.tar.gz", "recordings/*.wav"
    size = len(site.pages["/all.tar.gz"])
    return DataSet("packed", "", "sounds", files, digest, size, "none", address, "", "recordings")


@pytest.fixture(params=["small", "packed"])
def either(request: pytest.FixtureRequest, small: DataSet, packed: DataSet) -> DataSet:
    return small if request.param == "small" else packed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_is_fetched_verified_alone_and_once(site: Site, small: DataSet, home: Path) -> None:
    steps: list[tuple[int, int]] = []
    sentence = fetch(small, home, lambda done, total: steps.append((done, total)))
    assert "verified" in sentence
    assert files_below(home) == {"text/input.txt": TEXT}
    assert inspect(small, home)[0] == "verified"
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert steps[-1] == (len(TEXT), len(TEXT))
    assert "is the published one" in fetch(small, home)
    assert len(site.asked) == 1


def test_an_archive_is_fetched_and_only_what_was_wanted_is_kept(
    packed: DataSet, home: Path
) -> None:
    fetch(packed, home)
    assert files_below(home) == {f"sounds/recordings/{n}": sound for n, sound in SOUNDS.items()}
    assert [path.name for path in (home / "sounds").iterdir()] == ["recordings"]
    assert inspect(packed, home)[0] == "verified"


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on_where_it_was_if_the_server_can(
    site: Site, home: Path, either: DataSet, ranges: bool
) -> None:
    cut = len(site.pages["/" + either.address.rpartition("/")[2]]) // 3
    site.cut_after, site.ranges = cut, ranges
    with pytest.raises(CabError, match="Rerun the command to resume") as refused:
        fetch(either, home)
    part = home / either.folder / f"{either.name}.part"
    assert str(part) in str(refused.value)
    assert part.stat().st_size == cut
    assert inspect(either, home)[0] == "missing"
    site.cut_after = None
    fetch(either, home)
    assert site.asked[-1][1] == f"bytes={cut}-"
    assert inspect(either, home)[0] == "verified"
    assert not part.exists()


def test_a_download_that_was_complete_is_put_in_place(small: DataSet, home: Path) -> None:
    (home / "text").mkdir(parents=True)
    (home / "text" / "small.part").write_bytes(TEXT)
    fetch(small, home)
    assert files_below(home) == {"text/input.txt": TEXT}


@pytest.mark.parametrize("manner", ["chunked", "until it closes"])
def test_a_cut_is_noticed_even_where_the_server_does_not_say_how_much_to_expect(
    site: Site, home: Path, either: DataSet, manner: str
) -> None:
    # GitHub sends its archives chunked, without a length.
    site.manner, site.cut_after = (
        manner,
        len(site.pages["/" + either.address.rpartition("/")[2]]) // 2,
    )
    with pytest.raises(CabError):
        fetch(either, home)
    assert inspect(either, home)[0] == "missing"
    site.cut_after = None
    # The part may have been kept or thrown away; either way one more call or two mend it.
    for _ in range(2):
        try:
            fetch(either, home)
        except CabError:
            continue
    assert inspect(either, home)[0] == "verified"


@pytest.mark.parametrize("body", [b"<html>moved</html>", b"", TEXT + b"x"])
def test_other_bytes_than_the_published_are_refused_and_the_users_files_stay(
    site: Site, home: Path, either: DataSet, body: bytes
) -> None:
    mine = home / either.folder / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    path = "/" + either.address.rpartition("/")[2]
    good, site.pages[path] = site.pages[path], body
    with pytest.raises(CabError, match=either.name):
        fetch(either, home)
    assert mine.read_text() == "mine"
    assert inspect(either, home)[0] == "missing"
    site.pages[path] = good
    fetch(either, home)  # what was refused does not stand in the way
    assert inspect(either, home)[0] == "verified"


def test_a_wrong_checksum_is_said_with_both_hashes(
    site: Site, small: DataSet, packed: DataSet, home: Path
) -> None:
    site.pages["/input.txt"] = b"other bytes"
    with pytest.raises(CabError) as refused:
        fetch(small, home)
    assert small.sha256 in str(refused.value)
    assert hashlib.sha256(b"other bytes").hexdigest() in str(refused.value)
    site.pages["/all.tar.gz"] = archive({"top/recordings/0.wav": b"another sound"})
    with pytest.raises(CabError) as refused:
        fetch(packed, home)
    assert packed.sha256 in str(refused.value)
    assert hashlib.sha256(b"another sound").hexdigest() in str(refused.value)


def test_a_copy_that_was_altered_is_not_replaced(site: Site, small: DataSet, home: Path) -> None:
    mine = home / "text" / "input.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("my own words")
    with pytest.raises(CabError, match=f"{small.sha256}.* Nothing was deleted"):
        fetch(small, home)
    assert site.asked == []
    assert mine.read_text() == "my own words"


@pytest.mark.parametrize(
    "evil",
    [
        "top/recordings/../../../evil.wav",
        "../../../recordings/evil.wav",
        "/{tmp}/recordings/evil.wav",
        "top/../../recordings/evil.wav",
    ],
)
def test_an_archive_cannot_write_outside_its_folder(
    site: Site, packed: DataSet, tmp_path: Path, evil: str
) -> None:
    home = tmp_path / "a" / "b" / "c" / "data"
    members = {f"top/recordings/{name}": sound for name, sound in SOUNDS.items()}
    links = {"top/recordings": str(tmp_path), "top/recordings/link.wav": "/etc/passwd"}
    bad = {evil.format(tmp=str(tmp_path)): b"evil"}
    site.pages["/all.tar.gz"] = archive(members | bad, links)
    try:
        fetch(packed, home)
    except CabError:
        assert inspect(packed, home)[0] == "missing"
    outside = [name for name in files_below(tmp_path) if not name.startswith("a/b/c/data/")]
    assert outside == []
    assert not any(path.is_symlink() for path in home.rglob("*"))


def test_an_address_that_does_not_answer_is_a_sentence_that_helps(
    small: DataSet, home: Path
) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/input.txt"
        with pytest.raises(CabError, match="cannot be reached") as refused:
            fetch(replace(small, address=address), home)
    assert address in str(refused.value)
    assert "CAB_DATA" in str(refused.value)


def test_a_page_that_is_gone_is_a_sentence(site: Site, small: DataSet, home: Path) -> None:
    with pytest.raises(CabError, match="404"):
        fetch(replace(small, address=site.address + "/gone.txt"), home)
    assert files_below(home) == {}


def test_a_place_that_cannot_be_written_is_a_sentence(small: DataSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CabError, match="--data-dir"):
        fetch(small, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    if Path("/proc/self/task").is_dir():  # a folder that not even root can write into
        with pytest.raises(CabError, match="cannot be written"):
            fetch(replace(small, folder="self/task"), Path("/proc"))


def test_an_archive_is_unpacked_only_when_all_its_files_have_the_published_content(
    site: Site, packed: DataSet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All but the last file are right, and none of them reaches the disk.
    members = {f"top/recordings/{name}": sound for name, sound in SOUNDS.items()}
    site.pages["/all.tar.gz"] = archive(members | {"top/recordings/99.wav": b"one too many"})
    unpacked: list[object] = []
    monkeypatch.setattr(fetching, "_unpack", lambda *given: unpacked.append(given))
    with pytest.raises(CabError, match="is not data set packed"):
        fetch(packed, home)
    assert unpacked == []
    assert files_below(home) == {}


def test_an_archive_that_unpacks_to_no_end_is_not_read_to_its_end(
    site: Site, packed: DataSet, home: Path
) -> None:
    bomb = archive({"top/recordings/0.wav": bytes(200_000_000)})
    site.pages["/all.tar.gz"] = bomb
    with pytest.raises(CabError, match="holds more than the published archive"):
        fetch(replace(packed, size=len(bomb)), home)
    assert files_below(home) == {}


def test_python_without_filters_of_archives_unpacks_them_too(
    packed: DataSet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python 3.11.0 to 3.11.3 lack the argument `filter` of tarfile's methods.
    def refuse(*_: object, **__: object) -> None:
        raise TypeError("extract() got an unexpected keyword argument 'filter'")

    for name in ("extract", "extractall"):
        monkeypatch.setattr(tarfile.TarFile, name, refuse)
    fetch(packed, home)
    assert inspect(packed, home)[0] == "verified"


def test_a_server_without_the_range_that_nobody_asked_for_is_a_sentence(
    site: Site, small: DataSet, home: Path
) -> None:
    site.refuses_ranges = True
    with pytest.raises(CabError, match="answered 416"):
        fetch(small, home)
    assert files_below(home) == {}


def test_a_server_that_sends_one_byte_at_a_time_is_not_waited_for(
    site: Site, small: DataSet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 1.0)
    site.drips = True
    started = time.monotonic()
    with pytest.raises(CabError, match=r"60,000 bytes arrived within 1 s.*Rerun"):
        fetch(small, home)
    assert time.monotonic() - started < 10


def test_a_server_that_drips_its_headers_is_not_waited_for(
    site: Site, small: DataSet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 1.0)
    site.drips_headers = True
    started = time.monotonic()
    with pytest.raises(CabError, match="arrived within 1 s"):
        fetch(small, home)
    assert time.monotonic() - started < 10


def test_a_server_that_never_stops_sending_is_stopped(
    site: Site, small: DataSet, home: Path
) -> None:
    site.pages["/input.txt"] = TEXT * 10
    site.manner = "until it closes"
    with pytest.raises(CabError, match=r"more than the .* bytes that are allowed"):
        fetch(small, home)
    assert inspect(small, home)[0] == "missing"


def test_a_pipe_in_the_place_of_a_download_is_said(small: DataSet, home: Path) -> None:
    (home / "text").mkdir(parents=True)
    os.mkfifo(home / "text" / "small.part")
    with pytest.raises(CabError, match=r"small\.part is not a file"):
        fetch(small, home)
