"""The files of an index: on a full disk, in a folder of any name, marked as one store's."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import Said, cab_here, make_record
from index_support import filled, keys_of

from cab.errors import CabError
from cab.records.store import RecordStore
from cab.tracking.connection import Tracking, sqlite_address


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system with room for the index's database and little else."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "cab-test", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs leave to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def short_files(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond a size, as under a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_a_full_disk_is_said(said: Said) -> None:
    assert said.code == 2, (said.out, said.err)
    assert said.out == ""
    assert "cannot be used" in said.err
    assert "records were indexed" in said.err
    assert "Traceback" not in said.err
    assert said.err.count("cannot be used") == 1


def test_a_full_disk_loses_nothing_and_is_said(tmp_path: Path, empty: Path) -> None:
    root = tmp_path / "disk"
    with small_disk(root):
        store = filled(root, empty, 6, message="x" * 20_000)
        room = shutil.disk_usage(root).free
        filler = root / "filler"
        filler.write_bytes(b"x" * max(0, room - 48_000))
        assert_a_full_disk_is_said(cab_here("index", "--store", root))
        assert len(store.load()[0]) == 6
        filler.unlink()
        again = cab_here("index", "--store", root, "--json")
        assert again.code == 0, again.err
        assert again.document["added"] + again.document["present"] == 6
        assert keys_of(store) == [f"{n:032x}" for n in range(6)]


def test_a_quota_loses_nothing_and_is_said(tmp_path: Path, empty: Path) -> None:
    store = filled(tmp_path, empty, 6, message="x" * 20_000)
    size = (tmp_path / "mlflow.db").stat().st_size
    with short_files(size + 16_384):
        said = cab_here("index", "--store", tmp_path)
    assert_a_full_disk_is_said(said)
    assert len(store.load()[0]) == 6
    again = cab_here("index", "--store", tmp_path, "--json")
    assert again.code == 0, again.err
    assert again.document["added"] + again.document["present"] == 6
    assert keys_of(store) == [f"{n:032x}" for n in range(6)]


@pytest.mark.parametrize("name", ["q #?%25", "a b", "100%", "x?mode=memory", "line\nbreak"])
def test_a_store_of_any_name_has_its_index_inside_and_nothing_beside_it(
    tmp_path: Path, empty: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = filled(tmp_path / name, empty, 2)
    assert cab_here("index", "--store", tmp_path / name, "--json").document["added"] == 2
    assert cab_here("index", "--store", tmp_path / name, "--json").document["present"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]
    there = {path.name for path in (tmp_path / name).iterdir()}
    assert there == {"artifacts", "mlflow.db", "mlflow.lock", "records"}
    assert len(list((tmp_path / name / "artifacts").rglob("record.json"))) == 2
    assert keys_of(store) == [f"{n:032x}" for n in range(2)]


def test_a_plain_path_is_written_as_it_is() -> None:
    assert sqlite_address(Path("/a/b c-1.2/mlflow.db")) == "sqlite:////a/b c-1.2/mlflow.db"
    assert sqlite_address(Path("/a%20/x")) == "sqlite+pysqlite:////a%2520/x"


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    RecordStore(tmp_path).write(make_record())
    for scheme in ("postgresql+psycopg", "http"):
        uri = f"{scheme}://user:secret@127.0.0.1:9/name"
        said = cab_here("index", "--store", tmp_path, "--tracking-uri", uri)
        assert said.code == 2
        assert "secret" not in said.err
        assert f"{scheme}://user:***@127.0.0.1:9/name" in said.err


def test_a_damaged_mark_of_a_store_is_said_and_an_empty_one_is_made_anew(tmp_path: Path) -> None:
    tracking = Tracking.of_store(tmp_path, "http://127.0.0.1:9")
    mark = tmp_path / "store-id"
    mark.write_text("' or tags.`x` = '")
    with pytest.raises(CabError, match="is damaged"):
        tracking.marks()
    mark.write_text("")
    first = tracking.marks()
    assert len(first["cab.store"]) == 32
    assert tracking.marks() == first
