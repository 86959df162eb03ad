"""Records: whole or not there, checked to the last field, and never overwritten by mistake."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import environment, make_record
from hypothesis import given
from hypothesis import strategies as st

from cab.errors import CabError
from cab.records.fields import LARGEST
from cab.records.files import whole
from cab.records.store import SCHEMA_VERSION, CurvePoint, Estimate, RecordStore, parse_record

KEY = "0123456789abcdef0123456789abcdef"
NUMBERS = st.floats(-LARGEST, LARGEST)
INNER = st.floats(-0.9 * LARGEST, 0.9 * LARGEST)
"""Their means stay within the bounds, whatever is rounded on the way."""


def document(**changes: Any) -> dict[str, Any]:
    return json.loads(make_record(KEY).to_json()) | changes


def with_number(text: str) -> str:
    """A record's text in which one number is replaced, as `json` itself never would."""
    found = make_record(KEY, value=0.123456789).to_json()
    assert found.count("0.123456789") == 1
    return found.replace("0.123456789", text)


BAD = {
    "an extra field": (json.dumps(document(mood="good")), "mood"),
    "a missing field": (json.dumps({k: v for k, v in document().items() if k != "seed"}), "seed"),
    "NaN as a metric": (with_number("NaN"), "value"),
    "infinity as a metric": (with_number("Infinity"), "value"),
    "a number beyond all floats": (with_number("1e999"), "value"),
    "ok without metrics": (json.dumps(document(metrics={"valid": {}, "test": {}})), "status ok"),
    "an error with metrics": (json.dumps(document(status="error")), "status error"),
    "an unknown status": (json.dumps(document(status="fine")), "status"),
    "the key of another record": (json.dumps(document(key="f" * 32)), "f" * 32),
    "a key that is no hash": (json.dumps(document(key="../../etc/passwd")), "key"),
    "half a document": (make_record(KEY).to_json()[:700], "whole JSON"),
    "nothing": ("", "whole JSON"),
    "a list": ("[1, 2, 3]", "not a CAB record"),
    "somebody else's document": ('{"name": "package", "version": "1.0"}', "not a CAB record"),
    "no JSON at all": ("<html></html>", "whole JSON"),
    "a newer schema": (json.dumps(document(schema_version=SCHEMA_VERSION + 1)), "Upgrade CAB"),
    "an older schema": (json.dumps(document(schema_version=0)), "schema_version"),
}


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    (tmp_path / "records").mkdir()
    return RecordStore(tmp_path)


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=list(BAD))
def test_a_file_that_is_no_record_is_named_skipped_and_left_as_it_is(
    store: RecordStore, text: str, reason: str
) -> None:
    good = make_record("f" * 32)
    store.write(good)
    path = store.path(KEY)
    path.write_text(text)
    with pytest.raises(CabError, match=path.name) as refused:
        store.read(KEY)
    assert reason in str(refused.value)
    records, problems = store.load()
    assert records == [good]
    assert problems == [str(refused.value)]
    assert path.read_text() == text


@pytest.mark.parametrize("text", [text for text, _ in BAD.values()], ids=list(BAD))
def test_a_file_that_is_no_record_is_not_overwritten(store: RecordStore, text: str) -> None:
    store.path(KEY).write_text(text)
    with pytest.raises(CabError):
        store.write(make_record(KEY))
    assert store.path(KEY).read_text() == text
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.json"]


def test_a_file_of_bytes_that_are_no_text_is_skipped_and_left_as_it_is(store: RecordStore) -> None:
    store.path(KEY).write_bytes(b"\xff\xfe\x00binary")
    records, problems = store.load()
    assert records == []
    assert [KEY in problem for problem in problems] == [True]
    with pytest.raises(CabError):
        store.write(make_record(KEY))
    assert store.path(KEY).read_bytes() == b"\xff\xfe\x00binary"


def test_the_sentences_for_different_faults_differ(store: RecordStore) -> None:
    sentences = set()
    for text, _ in BAD.values():
        store.path(KEY).write_text(text)
        with pytest.raises(CabError) as refused:
            store.read(KEY)
        sentences.add(str(refused.value))
    # Empty, cut and non-JSON files are one fault; so are infinity and a number that overflows.
    assert len(sentences) >= len(BAD) - 4


def test_a_record_comes_back_as_it_was_written(store: RecordStore) -> None:
    record = make_record(
        KEY,
        options={"window": 8, "name": "å ∞ 🙂"},
        message="a sentence\nof two lines",
        curve=(CurvePoint(step=1, loss=2.5, valid={"accuracy": 0.25}), CurvePoint(step=2, loss=1)),
        shortcuts={"last value": Estimate(value=0.5, standard_error=0.0, n=1)},
    )
    path = store.write(record)
    assert path == store.path(KEY)
    assert store.read(KEY) == record
    assert path.read_text() == record.to_json()
    assert parse_record(path.read_text(), path).to_json() == record.to_json()


@given(value=NUMBERS, error=st.floats(0, LARGEST), seed=st.integers(0, 2**31 - 1))
def test_every_finite_number_survives_the_round_trip_to_the_last_digit(
    value: float, error: float, seed: int
) -> None:
    record = make_record(KEY, value=value, standard_error=error, seed=seed)
    again = parse_record(record.to_json(), Path(f"{KEY}.json"))
    assert again == record
    assert again.metrics.test["accuracy"].value == value


@given(st.sampled_from([math.nan, math.inf, -math.inf]))
def test_no_record_is_made_with_a_number_that_is_not_finite(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        make_record(KEY, value=number)
    with pytest.raises(ValueError, match="finite"):
        CurvePoint(step=1, loss=number)


def test_a_missing_record_is_none_and_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "nowhere")
    assert store.read(KEY) is None
    assert store.load() == ([], [])
    assert not store.folder.exists()


def test_records_come_in_the_order_of_their_names_and_other_files_do_not_count(
    store: RecordStore,
) -> None:
    keys = ["c" * 32, "a" * 32, "b" * 32]
    for seed, key in enumerate(keys):
        store.write(make_record(key, seed=seed))
    (store.folder / ".writing-abc").write_text("half")
    (store.folder / "notes.txt").write_text("mine")
    records, problems = store.load()
    assert [record.key for record in records] == sorted(keys)
    assert problems == []


def test_writing_again_replaces_the_record_and_leaves_nothing_else(store: RecordStore) -> None:
    store.write(make_record(KEY, value=0.1))
    store.write(make_record(KEY, value=0.2))
    record = store.read(KEY)
    assert record is not None
    assert record.metrics.test["accuracy"].value == 0.2
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.json"]


def test_a_store_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file where the folder should be")
    with pytest.raises(CabError, match="records"):
        RecordStore(tmp_path).write(make_record(KEY))


WRITER = """
import sys
from itertools import cycle
from pathlib import Path
from cab.records.store import CurvePoint, Record, RecordStore
record = Record.model_validate_json(sys.stdin.read())
store = RecordStore(Path(sys.argv[1]))
curves = [[CurvePoint(step=m, loss=0.5) for m in range(1, 6_000 * n + 1)] for n in range(4)]
changes = [{"key": f"{n:032x}", "curve": tuple(curve)} for n, curve in enumerate(curves)]
print("ready", flush=True)
for change in cycle(changes):
    seed = int(change["key"], 16)  # a cell of its own
    store.write(record.model_copy(update={**change, "seed": seed}))
"""


def test_killing_a_writer_at_any_moment_leaves_only_whole_records(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    moments = random.Random(0)
    seen = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write(make_record(KEY).to_json().encode())
            writer.stdin.close()
            assert writer.stdout.readline() == b"ready\n"
            end = time.monotonic() + moments.uniform(0.02, 0.2)
            try:
                while time.monotonic() < end:  # a reader beside the writer sees whole ones too
                    assert store.load()[1] == []
            finally:
                os.kill(writer.pid, signal.SIGKILL)
        records, problems = store.load()
        assert problems == []
        seen = max(seen, len(records))
    assert seen == 4


@given(st.lists(INNER, min_size=1, max_size=60))
def test_an_estimate_is_the_mean_and_standard_error_that_numpy_gives(values: list[float]) -> None:
    estimate = Estimate.of(values)
    exact = np.array(values, dtype=np.longdouble)
    scale = max(1e-300, float(np.abs(exact).max()))
    assert estimate.n == len(values)
    assert estimate.value == pytest.approx(float(exact.mean()), abs=1e-12 * scale)
    if len(values) == 1:
        assert estimate.standard_error == 0
    else:
        expected = float(exact.std(ddof=1) / np.sqrt(np.longdouble(len(values))))
        assert estimate.standard_error == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)


@given(st.lists(INNER, min_size=2, max_size=30), st.randoms())
def test_an_estimate_does_not_depend_on_the_order(values: list[float], chance: Any) -> None:
    shuffled = list(values)
    chance.shuffle(shuffled)
    assert Estimate.of(shuffled) == Estimate.of(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_estimate_of_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Estimate.of([0.5, bad, 1.0])


def test_a_file_comes_into_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    path, beside_it = tmp_path / "a", tmp_path / "b"
    path.write_text("before")
    beside_it.write_text("b")

    def write_half() -> None:
        with whole(path) as beside:
            beside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "before"
    with whole(path) as beside:
        beside.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert sorted(tmp_path.iterdir()) == [path, beside_it]
    assert path.stat().st_mode == beside_it.stat().st_mode
