"""Small published data sets, written in the format of the real ones."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from cab.data import DATA_SETS, HubSet, Part


def png(pixels: np.ndarray) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def wav(waveform: np.ndarray, rate: int = 16_000) -> bytes:
    """Encode a sound with 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def encoded(content: bytes) -> dict[str, Any]:
    """A picture or a sound as the hub stores it."""
    return {"bytes": content, "path": None}


def small(name: str, **rows: int) -> HubSet:
    """The published set `name`, said to hold so many rows a part, its checksums left out."""
    published = DATA_SETS[name]
    assert isinstance(published, HubSet)
    parts = {
        part: Part(one.files, rows.get(part, 0))
        for part, one in published.parts.items()
        if part in rows
    }
    return replace(published, parts=parts)


def write_parquet(path: Path, columns: dict[str, Sequence[Any]]) -> Path:
    """Write a table; encoded pictures and sounds become columns with `bytes` and `path`."""
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    cell = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    arrays = {
        name: pyarrow.array(values, type=cell if isinstance(values[0], dict) else None)
        for name, values in columns.items()
    }
    parquet.write_table(pyarrow.table(arrays), path)
    return path
