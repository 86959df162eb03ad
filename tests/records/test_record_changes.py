"""Records that are replaced or changed: by whom, into what room, and what stays."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_support import Log, cells_of, make_record, run_cells

from cab.errors import CabError
from cab.records.store import Evaluation, RecordStore, with_evaluations_of
from cab.running.cells import Cell

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    (tmp_path / "records").mkdir()
    return RecordStore(tmp_path)


def test_a_record_takes_the_room_that_was_kept_for_it(store: RecordStore, tmp_path: Path) -> None:
    space = tmp_path / "kept.space"
    space.write_bytes(bytes(1 << 18))
    room = space.stat().st_ino
    path = store.write(make_record(KEY), space)
    assert path.stat().st_ino == room
    assert store.read(KEY) == make_record(KEY)
    assert not space.exists()
    store.write(make_record(KEY, value=0.2), space)  # somebody has cleared the space away
    assert store.read(KEY) == make_record(KEY, value=0.2)


def evaluation(task: str) -> Evaluation:
    return Evaluation(
        harness="other", harness_version="1", task=task, task_version="1", metric="m",
        higher_is_better=True, value=0.5, standard_error=None, n=3, settings={},
    )  # fmt: skip


def test_evaluations_that_come_at_once_are_all_kept(store: RecordStore) -> None:
    store.write(make_record(KEY))

    def add(number: int) -> None:
        for turn in range(15):
            store.add_evaluations(KEY, [evaluation(f"{number}-{turn}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    record = store.read(KEY)
    assert record is not None
    assert len(record.evaluations) == 60


def test_a_run_that_gives_the_same_weights_keeps_what_was_asked_of_them() -> None:
    before = make_record(KEY).model_copy(update={"evaluations": (evaluation("one"),)})
    assert with_evaluations_of(before, make_record(KEY)).evaluations == before.evaluations
    other = make_record(KEY, value=0.123)
    assert with_evaluations_of(before, other) == other


def test_a_store_whose_records_cannot_be_locked_is_a_sentence(store: RecordStore) -> None:
    store.write(make_record(KEY))
    store.locks.write_text("a file where the folder should be")
    with pytest.raises(CabError, match=f"{KEY}.json could not be written"):
        store.add_evaluations(KEY, [evaluation("one")])
    assert store.read(KEY) == make_record(KEY)


def test_a_cell_that_is_run_again_keeps_its_evaluations_and_takes_its_kept_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = cells_of(["none"])
    store = RecordStore(tmp_path)
    run_cells(tmp_path, [cell])
    store.add_evaluations(cell.key, [evaluation("one")])
    rooms: list[int] = []

    def started(log: Log, cell: Cell) -> None:
        rooms.append((store.locks / f"{cell.key}.space").stat().st_ino)

    monkeypatch.setattr(Log, "cell_started", started)
    (again,), _ = run_cells(tmp_path, [cell], force=True)
    assert again.state == "ran"
    assert again.record is not None
    assert again.record.evaluations == (evaluation("one"),)
    assert store.read(cell.key) == again.record
    assert [store.path(cell.key).stat().st_ino] == rooms
