"""Published data sets: each format is read as it was written, and what differs is said."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_support import encoded, png, wav, write_parquet

from cab.data import (
    DATA_SETS,
    HubSet,
    Part,
    decode_audio,
    decode_image,
    inspect,
    load_part,
    locate,
)
from cab.errors import CabError

PUBLISHED = [one for one in DATA_SETS.values() if isinstance(one, HubSet)]
REVIEWS = ["a film\nof two lines", 'said "so"', "naïve", ""]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cache of `datasets` is the test's own."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture
def reviews(tmp_path: Path) -> HubSet:
    """Four reviews, in two files of one part and one of another."""
    one = HubSet(
        name="reviews",
        summary="",
        folder="films",
        hub="someone/reviews",
        revision="main",
        form="parquet",
        parts={"train": Part("text/train-*.parquet", 3), "test": Part("text/test.parquet", 1)},
        columns={"text": "text", "label": "integer"},
        size=1_000,
        licence="CC0",
        split="",
    )
    folder = tmp_path / "films" / "text"
    rows = {"label": [0, 1, 1, 0], "text": REVIEWS, "id": list("abcd")}
    for name, cut in (("train-0", slice(2)), ("train-1", slice(2, 3)), ("test", slice(3, 4))):
        write_parquet(folder / f"{name}.parquet", {key: v[cut] for key, v in rows.items()})
    return one


def test_a_table_is_read_row_by_row_and_column_by_column(reviews: HubSet, tmp_path: Path) -> None:
    state, sentence = inspect(reviews, tmp_path)
    assert state == "verified"
    assert "its checksum is unknown" in sentence
    train, test = (load_part(reviews, tmp_path, part) for part in ("train", "test"))
    assert train.column_names == ["text", "label"]
    assert (train[:]["text"], train[:]["label"]) == (REVIEWS[:3], [0, 1, 1])
    assert test[0] == {"text": "", "label": 0}


def test_another_file_at_the_same_place_is_read_anew(reviews: HubSet, tmp_path: Path) -> None:
    load_part(reviews, tmp_path, "test")
    path = tmp_path / "films" / "text" / "test.parquet"
    write_parquet(path, {"text": ["another review"], "label": [1]})
    assert load_part(reviews, tmp_path, "test")[0] == {"text": "another review", "label": 1}


@pytest.mark.parametrize("form", ["csv", "tsv", "json"])
def test_rows_of_text_files_are_read(reviews: HubSet, tmp_path: Path, form: str) -> None:
    texts = ['one, "two"', "naïve b'x'", "5"]
    lines = {
        "csv": ["label,text", '0,"one, ""two"""', "1,naïve b'x'", "1,5"],
        "tsv": [f"{label}\t{text}" for label, text in zip("011", texts, strict=True)],
        "json": [
            json.dumps({"text": text, "label": label})
            for label, text in zip((0, 1, 1), texts, strict=True)
        ],
    }[form]
    columns = {"label": "integer", "text": "text"}
    one = replace(reviews, form=form, parts={"all": Part(f"rows.{form}")}, columns=columns)
    (tmp_path / "films" / f"rows.{form}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert inspect(one, tmp_path)[0] == "verified"
    rows = load_part(one, tmp_path, "all")
    assert rows[:] == {"label": [0, 1, 1], "text": texts}
    lacking = replace(one, columns={"label": "integer", "text": "text", "id": "text"})
    assert inspect(lacking, tmp_path)[0] == "wrong"


def test_a_file_of_text_is_one_row(reviews: HubSet, tmp_path: Path) -> None:
    one = replace(reviews, form="text", parts={"all": Part("*.txt", 2)}, columns={"text": "text"})
    for name in "ab":
        (tmp_path / "films" / f"{name}.txt").write_text(f"{name}\n\nsecond paragraph")
    assert inspect(one, tmp_path)[0] == "verified"
    assert load_part(one, tmp_path, "all")["text"][:] == [
        "a\n\nsecond paragraph",
        "b\n\nsecond paragraph",
    ]


def test_pictures_are_read_pixel_for_pixel_from_tables_and_folders(
    reviews: HubSet, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)
    columns = {"image": "image", "label": "integer"}
    table = replace(reviews, parts={"all": Part("pictures.parquet", 4)}, columns=columns)
    folder = replace(table, form="imagefolder", parts={"all": Part("pictures/*/*.png", 4)})
    cells = [encoded(png(one)) for one in pixels]
    write_parquet(tmp_path / "films/pictures.parquet", {"image": cells, "label": [0, 0, 1, 1]})
    for row, name in enumerate(("cat/1", "cat/2", "dog/1", "dog/2")):
        path = tmp_path / "films" / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cells[row]["bytes"])
    for one in (table, folder):
        assert inspect(one, tmp_path)[0] == "verified"
        rows = load_part(one, tmp_path, "all")
        assert rows[:]["label"] == [0, 0, 1, 1]
        for row, expected in zip(rows, pixels, strict=True):
            assert np.array_equal(decode_image(row["image"]), expected)
            grey = np.asarray(Image.fromarray(expected).convert("L"))
            assert np.array_equal(decode_image(row["image"], "L"), grey)
    unlabelled = replace(folder, columns={"image": "image"})
    assert load_part(unlabelled, tmp_path, "all").column_names == ["image"]


def test_sounds_are_read_sample_for_sample_from_tables_and_folders(
    reviews: HubSet, tmp_path: Path
) -> None:
    drawing = np.random.default_rng(1)
    sounds = [drawing.uniform(-1, 1, (90 + n, 1 + n)) for n in range(2)]
    columns = {"audio": "audio", "label": "integer"}
    table = replace(reviews, parts={"all": Part("sounds.parquet", 2)}, columns=columns)
    folder = replace(table, form="audiofolder", parts={"all": Part("sounds/*/*.wav", 2)})
    cells = [encoded(wav(one, 8_000 + n)) for n, one in enumerate(sounds)]
    write_parquet(tmp_path / "films/sounds.parquet", {"audio": cells, "label": [0, 1]})
    for row, name in enumerate(("no", "yes")):
        path = tmp_path / "films" / "sounds" / name / "1.wav"
        path.parent.mkdir(parents=True)
        path.write_bytes(cells[row]["bytes"])
    for one in (table, folder):
        assert inspect(one, tmp_path)[0] == "verified"
        rows = load_part(one, tmp_path, "all")
        assert rows[:]["label"] == [0, 1]
        for n, expected in enumerate(sounds):
            waveform, rate = decode_audio(rows[n]["audio"])
            assert (waveform.dtype, rate) == (np.float32, 8_000 + n)
            assert np.abs(waveform - expected.mean(axis=1)).max() < 2**-14


def test_what_is_not_there_is_missing_and_the_sentence_says_what_to_do(
    reviews: HubSet, tmp_path: Path
) -> None:
    (tmp_path / "films" / "text" / "test.parquet").unlink()
    state, sentence = inspect(reviews, tmp_path)
    assert state == "missing"
    assert ": text/test.parquet missing. Run `cab data fetch reviews`" in sentence
    assert "`cab data fetch reviews`" in sentence
    assert "CAB_DATA" in sentence
    by_hand = replace(reviews, hub="", address="https://example.org/films.zip")
    sentence = inspect(by_hand, tmp_path)[1]
    assert "Download it by hand from https://example.org/films.zip" in sentence
    said = r"^text/test\.parquet .* is missing in .* `cab data verify reviews`"
    with pytest.raises(CabError, match=said):
        load_part(reviews, tmp_path, "test")
    with pytest.raises(CabError, match="no published part called 'valid'"):
        load_part(reviews, tmp_path, "valid")
    with pytest.raises(CabError, match="no published part"):
        load_part("etth1", tmp_path, "train")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": ["x"]}, "has no column 'label', only text"),
        ({"text": ["x"], "label": ["1"]}, "has string instead of integer in column 'label'"),
        ({"text": [3], "label": [1]}, "has int64 instead of text in column 'text'"),
        ({"text": ["x", "y"], "label": [1, 0]}, "has 2 rows instead of 1"),
    ],
)
def test_other_columns_or_rows_than_published_are_said(
    reviews: HubSet, tmp_path: Path, columns: dict[str, list[object]], said: str
) -> None:
    path = write_parquet(tmp_path / "films" / "text" / "test.parquet", columns)
    state, sentence = inspect(reviews, tmp_path)
    assert state == "wrong"
    assert said in sentence
    assert "Nothing was deleted" in sentence
    path.write_bytes(b"no table at all")
    state, sentence = inspect(reviews, tmp_path)
    assert state == "wrong"
    assert "cannot be read" in sentence


def test_a_known_checksum_is_held_to(reviews: HubSet, tmp_path: Path) -> None:
    files = locate(reviews, tmp_path)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    listing = "".join(f"{digests[n]}  train-{n}.parquet\n" for n in range(2))
    known = {
        "train": replace(
            reviews.parts["train"], sha256=hashlib.sha256(listing.encode()).hexdigest()
        ),
        "test": replace(reviews.parts["test"], sha256=digests[2]),
    }
    published = replace(reviews, parts=known)
    assert inspect(published, tmp_path)[1].endswith("is the published one.")
    shutil.copy(files[0], files[2])
    state, sentence = inspect(published, tmp_path)
    assert state == "wrong"
    assert digests[2] in sentence
    assert digests[0] in sentence


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: one.name)
def test_every_published_set_says_where_it_is_from_and_what_may_be_done_with_it(
    published: HubSet,
) -> None:
    assert published.licence
    assert published.split
    assert published.size > 1_000_000
    archives = all(part.files.endswith(".zip") for part in published.parts.values())
    assert bool(published.columns) != archives  # what lies in an archive is no table
    assert published.origin.startswith("https://")
    assert bool(published.hub) == bool(published.revision)
    assert published.hub or published.address
    for part in published.parts.values():
        assert len(part.sha256) in (0, 64)
        assert not Path(part.files).is_absolute()
