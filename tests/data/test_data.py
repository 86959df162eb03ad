"""Data sets: found, verified, loaded exactly; a missing or altered one is said and left alone."""

import csv
import hashlib
import re
import wave
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_support import DATA, needs_data

from cab.data import (
    DATA_SETS,
    VERBATIM,
    checksum,
    data_directory,
    get_data_set,
    inspect,
    load_recordings,
    load_table,
    load_text,
    locate,
    require,
)
from cab.errors import CabError, UnknownName
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.language.byte_lm import ByteLm
from cab.tasks.speech._recordings import split_of
from cab.tasks.speech.transcribe import Transcribe

HERE = Path(DATA or "/nowhere")
NAMES = [data_set.name for data_set in VERBATIM]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cache of `datasets` is the tests' own, so that nothing old can stand in for a load."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def copy_of(name: str, folder: Path) -> Path:
    """Link one data set's files into a folder of its own, to be altered there."""
    data_set = DATA_SETS[name]
    for path in locate(data_set, HERE):
        target = folder / path.relative_to(HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    return folder


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_the_published_copy_verifies(name: str) -> None:
    state, sentence = inspect(DATA_SETS[name], HERE)
    assert state == "verified", sentence
    require([name], HERE)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_set_names_the_command_that_brings_it(name: str, tmp_path: Path) -> None:
    state, sentence = inspect(DATA_SETS[name], tmp_path)
    assert state == "missing"
    assert f"`cab data fetch {name}`" in sentence
    assert "CAB_DATA" in sentence
    assert DATA_SETS[name].licence in sentence
    with pytest.raises(CabError, match=f"cab data fetch {name}"):
        require([name], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_missing_set_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CabError) as refused:
        require(NAMES, tmp_path)
    assert all(f"cab data fetch {name}" in str(refused.value) for name in NAMES)


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_one_altered_byte_is_said_with_both_hashes_and_nothing_is_deleted(
    name: str, tmp_path: Path
) -> None:
    copy_of(name, tmp_path)
    victim = locate(DATA_SETS[name], tmp_path)[-1]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.unlink()
    victim.write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    state, sentence = inspect(DATA_SETS[name], tmp_path)
    assert state == "wrong"
    assert set(re.findall(r"[0-9a-f]{64}", sentence)) == {
        DATA_SETS[name].sha256,
        checksum(locate(DATA_SETS[name], tmp_path)),
    }
    assert "Nothing was deleted" in sentence
    assert sorted(tmp_path.rglob("*")) == before
    assert victim.read_bytes() == content


@needs_data
def test_a_recording_too_few_too_many_or_renamed_is_noticed(tmp_path: Path) -> None:
    folder = copy_of("fsdd", tmp_path) / "fsdd" / "recordings"
    one, two = folder / "0_george_0.wav", folder / "10_george_0.wav"
    one.rename(two)
    assert inspect(DATA_SETS["fsdd"], tmp_path)[0] == "wrong"
    one.symlink_to(two.resolve())
    assert inspect(DATA_SETS["fsdd"], tmp_path)[0] == "wrong"
    two.unlink()
    assert inspect(DATA_SETS["fsdd"], tmp_path)[0] == "verified"


def test_the_checksum_of_one_file_is_its_own_and_of_many_that_of_the_listing(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(path.name.encode())
    one = hashlib.sha256(b"a").hexdigest()
    two = hashlib.sha256(b"b").hexdigest()
    assert checksum(paths[:1]) == one
    assert checksum(paths) == hashlib.sha256(f"{one}  a\n{two}  b\n".encode()).hexdigest()


def test_the_folder_is_the_one_given_else_cab_data_else_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAB_DATA", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_directory(tmp_path / "given") == tmp_path / "given"
    assert data_directory() == tmp_path / "environment"
    monkeypatch.setenv("CAB_DATA", "")
    assert data_directory() == tmp_path / "cache" / "cab" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_directory() == tmp_path / ".cache" / "cab" / "data"


def test_an_unknown_set_says_which_there_are() -> None:
    with pytest.raises(UnknownName, match="Did you mean tinyshakespeare"):
        get_data_set("tinyshakespear")


def test_every_set_says_where_it_is_from_what_it_may_be_used_for_and_how_it_is_split() -> None:
    for data_set in VERBATIM:
        assert data_set.address.startswith("https://")
        assert re.search(r"/[0-9a-f]{40}[/.]", data_set.address), "a pinned commit"
        assert re.fullmatch(r"[0-9a-f]{64}", data_set.sha256)
        assert data_set.licence
        assert data_set.split
    needed = {name for card in discover_tasks().cards() for name in card.data}
    assert needed <= set(DATA_SETS)


@needs_data
def test_the_text_is_the_file_byte_for_byte() -> None:
    text = load_text("tinyshakespeare", HERE)
    assert text == (HERE / "tinyshakespeare" / "input.txt").read_bytes()
    assert len(text) == DATA_SETS["tinyshakespeare"].size == 1_115_394


@needs_data
def test_the_table_holds_every_row_and_column_of_the_file() -> None:
    table = load_table("etth1", HERE)
    assert list(table) == ["date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    with (HERE / "ett" / "ETTh1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 17_420
    for name in list(table)[1:]:
        assert table[name].shape == (17_420,)
        assert np.isfinite(table[name]).all()
        # The reader is exact to a unit in the last place of double; tasks compute in single.
        expected = np.array([float(row[name]) for row in rows])
        assert np.array_equal(table[name].astype(np.float32), expected.astype(np.float32))


@pytest.fixture(scope="module")
def recordings(own_cache: None) -> list[tuple[str, np.ndarray]]:
    return load_recordings("fsdd", HERE)


@needs_data
def test_the_recordings_are_all_there_and_sample_for_sample_the_files(
    recordings: list[tuple[str, np.ndarray]],
) -> None:
    assert len(recordings) == 3000
    stems = [stem for stem, _ in recordings]
    assert stems == sorted(stems, key=lambda stem: f"{stem}.wav")
    counts = Counter(tuple(stem.split("_")[:2]) for stem in stems)
    assert len(counts) == 10 * 6
    assert set(counts.values()) == {50}
    for stem, waveform in recordings[::97]:
        with wave.open(str(HERE / "fsdd" / "recordings" / f"{stem}.wav")) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        assert np.array_equal(waveform, samples)


@needs_data
def test_the_official_split_keeps_every_recording_in_one_part(
    recordings: list[tuple[str, np.ndarray]],
) -> None:
    parts = Counter(split_of(int(stem.split("_")[2])) for stem, _ in recordings)
    assert parts == {"test": 300, "valid": 180, "train": 2520}
    task = Transcribe(Transcribe.recipes["quick"], HERE)
    tokens = {split: task.draw(split, 400, generator(split))["source"] for split in SPLITS}
    # A token is some frames of one recording: one that stood in two splits would show. Validation
    # has 180 recordings of about four tokens, of which nearly all are drawn.
    seen = {
        split: {row.numpy().tobytes() for row in t.flatten(0, 1) if row.any()}
        for split, t in tokens.items()
    }
    assert len(seen["valid"]) > 700
    assert min(len(seen["train"]), len(seen["test"])) > 1000
    assert not seen["train"] & seen["test"]
    assert not seen["valid"] & seen["test"]
    assert not seen["train"] & seen["valid"]


@needs_data
def test_the_text_and_the_table_are_cut_in_order_without_overlap() -> None:
    text = np.frombuffer((HERE / "tinyshakespeare" / "input.txt").read_bytes(), dtype=np.uint8)
    cuts = {"train": slice(0, 1_003_854), "valid": slice(1_003_854, 1_059_624)}
    cuts["test"] = slice(1_059_624, None)
    task = ByteLm(ByteLm.recipes["quick"], HERE)
    for split in SPLITS:
        part = text[cuts[split]].tobytes()
        for window in task.draw(split, 20, generator(split))["inputs"].to(torch.uint8):
            assert window.numpy().tobytes() in part
