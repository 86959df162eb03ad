"""Load data sets with the library `datasets`, without a network."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cab.data.catalogue import get_data_set
from cab.data.sets import HubSet, locate, locate_part
from cab.errors import CabError


def _load(builder: Callable[[Any], Any]) -> Any:
    """Call a builder with the module `datasets`, without progress bars and network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return builder(datasets)


def load_text(name: str, directory: Path) -> bytes:
    """Return the bytes of a text set of one file."""
    (path,) = locate(get_data_set(name), directory)
    table = _load(
        lambda datasets: datasets.load_dataset(
            "text", data_files=str(path), sample_by="document", split="train"
        )
    )
    return str(table[0]["text"]).encode()


def load_table(name: str, directory: Path) -> dict[str, Any]:
    """Return the columns of a csv set as numpy arrays, by name."""
    (path,) = locate(get_data_set(name), directory)
    table = _load(
        lambda datasets: datasets.load_dataset("csv", data_files=str(path), split="train")
    )
    return dict(table.with_format("numpy")[:])


def load_recordings(name: str, directory: Path) -> list[tuple[str, Any]]:
    """Return the recordings of a speech set: (file stem, 16-bit waveform), in C order."""
    data_set = get_data_set(name)
    assert not isinstance(data_set, HubSet)
    paths = [str(path) for path in locate(data_set, directory)]

    def build(datasets: Any) -> Any:
        features = datasets.Features(
            stem=datasets.Value("string"),
            waveform=datasets.Sequence(datasets.Value("int16")),
        )
        # The checksum is an argument so that the cache of another version is not used.
        return datasets.Dataset.from_generator(
            _read_recordings,
            features=features,
            gen_kwargs={"paths": paths, "sha256": data_set.sha256},
        )

    table = _load(build).with_format("numpy")[:]
    return list(zip(table["stem"], table["waveform"], strict=True))


def _read_recordings(paths: list[str], sha256: str) -> Iterator[dict[str, Any]]:
    import soundfile

    for path in paths:
        waveform, _ = soundfile.read(path, dtype="int16")
        yield {"stem": Path(path).stem, "waveform": waveform}


def load_part(data_set: str | HubSet, directory: Path, part: str) -> Any:
    """Return one published part as a memory-mapped `datasets.Dataset` of the set's columns.

    Images and audio stay encoded, as {"bytes": ..., "path": ...}: see `decode_image` and
    `decode_audio`. The columns of folders are `image` or `audio`, and `label`: the number of the
    file's folder among their sorted names. Rows are in the order of the files.

    Raises:
        CabError: the set has no such part, or its files are missing.
    """
    one = get_data_set(data_set) if isinstance(data_set, str) else data_set
    if not isinstance(one, HubSet) or part not in one.parts:
        raise CabError(f"Data set {one.name} has no published part called {part!r}.")
    files = [str(path) for path in locate_part(one, directory, part)]
    if not files:
        raise CabError(
            f"{one.parts[part].files} of data set {one.name} is missing in "
            f"{directory / one.folder}. Run `cab data verify {one.name}`."
        )

    def build(datasets: Any) -> Any:
        if one.form in ("imagefolder", "audiofolder"):
            return _folder(one, [Path(file) for file in files], datasets)
        builder, options = _builder_of(one, datasets)
        rows = datasets.load_dataset(builder, data_files=files, split="train", **options)
        encoded = {"image": datasets.Image(decode=False), "audio": datasets.Audio(decode=False)}
        for column, kind in one.columns.items():
            if kind in encoded:
                rows = rows.cast_column(column, encoded[kind])
        return rows.select_columns(list(one.columns))

    return _load(build)


def _builder_of(data_set: HubSet, datasets: Any) -> tuple[str, dict[str, Any]]:
    """Return the builder of `datasets` that reads a form, and its options."""
    if data_set.form == "tsv":
        types = {"text": "string", "integer": "int64", "number": "float64"}
        return "csv", {
            "sep": "\t",
            "features": datasets.Features(
                {name: datasets.Value(types[kind]) for name, kind in data_set.columns.items()}
            ),
            "column_names": list(data_set.columns),
            "quoting": 3,  # quotes are text
            "encoding_errors": "replace",
        }
    if data_set.form == "text":
        return "text", {"sample_by": "document"}
    return data_set.form, {}


def _folder(data_set: HubSet, files: list[Path], datasets: Any) -> Any:
    """Return a table of files and labels; the audio builder of `datasets` would need a decoder."""
    folders = sorted({path.parent.name for path in files})
    columns = {
        name: [{"bytes": None, "path": str(path)} for path in files]
        if kind in ("image", "audio")
        else [folders.index(path.parent.name) for path in files]
        for name, kind in data_set.columns.items()
    }
    return datasets.Dataset.from_dict(columns)


def decode_image(cell: dict[str, Any], mode: str = "RGB") -> Any:
    """Decode an image to uint8, shape (height, width, 3), or (height, width) for mode L."""
    import numpy as np
    from PIL import Image

    with Image.open(_content(cell)) as picture:
        return np.asarray(picture.convert(mode))


def decode_audio(cell: dict[str, Any]) -> tuple[Any, int]:
    """Decode audio to the mean of its channels, float32 in [-1, 1], and its sample rate."""
    import soundfile

    waveform, rate = soundfile.read(_content(cell), dtype="float32", always_2d=True)
    return waveform.mean(axis=1), rate


def _content(cell: dict[str, Any]) -> Any:
    return io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]
