"""Data sets: where they come from, how they are checked, how they are loaded.

Each set names its address, its checksum and its licence. Files are looked for below `--data-dir`,
`CAB_DATA` or the user's cache, in that order, and are verified before use, never trusted.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cab.errors import CabError, UnknownName


@dataclass(frozen=True)
class DataSet:
    """One public data set.

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


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet(
            name="tinyshakespeare",
            summary="the plays of Shakespeare in one text file",
            folder="tinyshakespeare",
            files="input.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            size=1_115_394,
            licence="public domain",
            address="https://raw.githubusercontent.com/karpathy/char-rnn/"
            "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
            split="bytes in order: 90 % train, 5 % valid, 5 % test",
        ),
        DataSet(
            name="etth1",
            summary="an electricity transformer's load and oil temperature, hourly for two years",
            folder="ett",
            files="ETTh1.csv",
            sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            size=2_589_657,
            licence="CC BY-ND 4.0",
            address="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/"
            "1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv",
            split="months in order: 12 train, 4 valid, 4 test, as in Informer",
        ),
        DataSet(
            name="fsdd",
            summary="Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers",
            folder="fsdd",
            files="recordings/*.wav",
            sha256="1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
            size=21_000_000,
            licence="CC BY-SA 4.0",
            address="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/"
            "26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz",
            split="official: recordings 0-4 of each digit and speaker test, 5-49 train",
            member="recordings",
        ),
    )
}


def get_data_set(name: str) -> DataSet:
    """Return a data set; an unknown name raises with the nearest ones."""
    if name not in DATA_SETS:
        raise UnknownName("data set", name, DATA_SETS)
    return DATA_SETS[name]


def data_directory(given: Path | None = None) -> Path:
    """Where data sets live: the given folder, else CAB_DATA, else the user's cache."""
    if given is not None:
        return given.expanduser().resolve()
    if os.environ.get("CAB_DATA"):
        return Path(os.environ["CAB_DATA"]).expanduser().resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "cab" / "data"


def locate(data_set: DataSet, directory: Path) -> list[Path]:
    """The files of a set below a data directory, in C order; empty if there are none."""
    return sorted((directory / data_set.folder).glob(data_set.files), key=lambda path: path.name)


def checksum(files: Iterable[Path]) -> str:
    """The sha256 of one file, or of the sha256sum listing of several."""
    paths = list(files)
    digests = [(hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in paths]
    if len(digests) == 1:
        return digests[0][0]
    listing = "".join(f"{digest}  {name}\n" for digest, name in digests)
    return hashlib.sha256(listing.encode()).hexdigest()


State = Literal["verified", "missing", "wrong"]


def inspect(data_set: DataSet, directory: Path) -> tuple[State, str]:
    """Return the state of a local copy and one sentence about it."""
    files = locate(data_set, directory)
    where = directory / data_set.folder
    if not files:
        return "missing", (
            f"Data set {data_set.name} ({data_set.size / 1e6:.1f} MB, {data_set.licence}) is not "
            f"in {where}. Run `cab data fetch {data_set.name}`, or point CAB_DATA at a copy."
        )
    found = checksum(files)
    if found != data_set.sha256:
        return "wrong", (
            f"Data set {data_set.name} in {where} ({data_set.files}) is not the published one: "
            f"its sha256 is {found}, it should be {data_set.sha256}. Nothing was deleted; move "
            f"it away and run `cab data fetch {data_set.name}`."
        )
    return "verified", f"Data set {data_set.name} in {where} is the published one."


def require(names: Iterable[str], directory: Path) -> None:
    """Check that the sets are there and right.

    Raises:
        CabError: a set is missing or altered; the message names the command that mends it.
    """
    problems = []
    for name in names:
        state, sentence = inspect(get_data_set(name), directory)
        if state != "verified":
            problems.append(sentence)
    if problems:
        raise CabError("\n".join(problems))


def _load(builder: Callable[[Any], Any]) -> Any:
    """Call a builder with the `datasets` module, quiet and without any network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return builder(datasets)


def load_text(name: str, directory: Path) -> bytes:
    """The bytes of a text set of one file."""
    (path,) = locate(get_data_set(name), directory)
    table = _load(
        lambda datasets: datasets.load_dataset(
            "text", data_files=str(path), sample_by="document", split="train"
        )
    )
    return str(table[0]["text"]).encode()


def load_table(name: str, directory: Path) -> dict[str, Any]:
    """The columns of a csv set as numpy arrays, by name."""
    (path,) = locate(get_data_set(name), directory)
    table = _load(
        lambda datasets: datasets.load_dataset("csv", data_files=str(path), split="train")
    )
    return dict(table.with_format("numpy")[:])


def load_recordings(name: str, directory: Path) -> list[tuple[str, Any]]:
    """The recordings of a speech set: (file stem, 16-bit waveform), in C order."""
    data_set = get_data_set(name)
    paths = [str(path) for path in locate(data_set, directory)]

    def build(datasets: Any) -> Any:
        features = datasets.Features(
            stem=datasets.Value("string"),
            waveform=datasets.Sequence(datasets.Value("int16")),
        )
        # The checksum is in the arguments so that the cache of another version is not used.
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
