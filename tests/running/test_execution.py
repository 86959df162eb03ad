"""Execution: every way a cell can end is recorded, and no cell disturbs another."""

import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cli_support import HANGS, Log, cells_of, make_record, run_cells, wait_until
from cli_support import write_variant as write
from filelock import FileLock

from cab.errors import CabError
from cab.records.store import Estimate, Record, RecordStore
from cab.records.text import is_safe
from cab.running import environment
from cab.running.cells import Cell
from cab.running.execution import Finished, Runner
from cab.running.jobs import Ended, Job, Outcome, Progressed

TENSOR = "return q + torch.ones(1 << 30).sum()"  # 4 GiB at once
SURROGATE = 'raise RuntimeError("a file called \\udcff")'


@dataclass(frozen=True)
class Way:
    """What a variant does, how its cell must end, and words of the sentence that says why."""

    attend: str
    status: str
    words: tuple[str, ...]
    construct: str = "super().__init__(config, **geometry)"
    task: str = "mqar"


WAYS = {
    "healthy": Way("return q", "ok", ()),
    "raises": Way("raise KeyError('lost')", "error", ("KeyError", "lost", "raises.py", "line")),
    "huge": Way(TENSOR, "oom", ("2 GiB", "memory")),
    "huge-numpy": Way(
        "import numpy; return q + float(numpy.ones(1 << 29).sum())", "oom", ("2 GiB", "memory")
    ),
    "sleeps": Way("time.sleep(600)", "timeout", ("3 s", "smoke")),
    "never-a-number": Way("return q * float('nan')", "diverged", ("loss", "step")),
    "nan-when-tested": Way(
        "return q if self.training else q * float('nan')",
        "diverged",
        ("metric", "finite"),
        task="regress",
    ),
    "unsupported": Way(
        "return q",
        "unsupported",
        ("needs a square",),
        "super().__init__(config, **geometry); raise Unsupported('needs a square')",
    ),
    "refuses-late": Way("raise Unsupported('no such mask')", "unsupported", ("no such mask",)),
    "leaves": Way("os._exit(3)", "error", ("exit code 3",)),
    "leaves-politely": Way("sys.exit('enough')", "error", ()),
    "kills-itself": Way("os.kill(os.getpid(), signal.SIGKILL)", "error", ("signal 9",)),
    "crashes": Way("os.kill(os.getpid(), signal.SIGSEGV)", "error", ("signal 11",)),
    "interrupts": Way("raise KeyboardInterrupt", "error", ()),
    "writes-to-nobody": Way("raise BrokenPipeError('mine')", "error", ("BrokenPipeError",)),
    "recurses": Way("return self.attend(q, k, v)", "error", ("RecursionError",)),
    "unspeakable": Way(SURROGATE, "error", ("RuntimeError",)),
    "talks-too-much": Way(
        "raise ValueError('\\x1b[31mred ' + 'x' * 1_000_000)",
        "error",
        ("ValueError", "red", "(cut)"),
    ),
    "cannot-be-asked": Way(
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})", "error", ("Mute",)
    ),
    "wrong-shape": Way("return q[..., :1]", "error", ("Error",)),
    "healthy-too": Way("return q", "ok", ()),
}
LIMITS = {"sleeps": {"time_limit": 3.0}, "huge": {"memory_limit": 2.0}}
LIMITS["huge-numpy"] = LIMITS["huge"]


def limited(cell: Cell) -> Cell:
    limits = LIMITS.get(cell.variant.name, {})
    return replace(cell, profile=replace(cell.profile, **limits))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    folder = tmp_path_factory.mktemp("variants")
    files = [write(folder, name, w.attend, construct=w.construct) for name, w in WAYS.items()]
    found = cells_of(list(WAYS), include=files, tasks=("mqar", "regress"))
    return [limited(cell) for cell in found if cell.task.name == WAYS[cell.variant.name].task]


@pytest.fixture(scope="module")
def first(store: Path, cells: list[Cell]) -> dict[str, Finished]:
    finished, log = run_cells(store, cells)
    assert log.started == log.finished == [cell.key for cell in cells]
    return {one.cell.variant.name: one for one in finished}


@pytest.mark.parametrize("name", list(WAYS))
def test_a_cell_ends_as_it_should_with_a_sentence_in_its_record(
    first: dict[str, Finished], store: Path, name: str
) -> None:
    way, one = WAYS[name], first[name]
    assert one.state == "ran", one.problem
    stored = RecordStore(store).read(one.cell.key)
    assert stored == one.record
    assert stored is not None
    assert stored.status == way.status, stored.message
    assert bool(stored.message) == (way.status != "ok")
    assert all(word in stored.message for word in way.words), stored.message
    assert is_safe(stored.message)
    assert len(stored.message) <= 2_000


def test_what_one_cell_does_no_other_cell_sees(first: dict[str, Finished]) -> None:
    before, after = first["healthy"].record, first["healthy-too"].record
    assert before is not None
    assert after is not None
    assert before.metrics == after.metrics
    assert before.curve == after.curve


def test_a_record_says_what_a_failed_cell_had_come_to(first: dict[str, Finished]) -> None:
    for name in ("never-a-number", "nan-when-tested"):
        record = first[name].record
        assert record is not None
        assert record.variant.parameters
        assert record.task.data_fingerprint
        assert record.cost.total_seconds > 0
        assert record.environment.device == "cpu"
    timed_out = first["sleeps"].record
    assert timed_out is not None
    assert 3 <= timed_out.cost.total_seconds < 20


def test_the_next_run_tries_errors_again_and_nothing_else(
    first: dict[str, Finished], store: Path, cells: list[Cell]
) -> None:
    chosen = [c for c in cells if c.variant.name in ("healthy", "raises", "huge", "sleeps")]
    finished, log = run_cells(store, chosen)
    states = {one.cell.variant.name: one.state for one in finished}
    done = "already done"
    assert states == {"healthy": done, "raises": "ran", "huge": done, "sleeps": done}
    assert log.started == [c.key for c in chosen if c.variant.name == "raises"]


def test_force_runs_done_cells_again_and_each_only_once(
    first: dict[str, Finished], store: Path, cells: list[Cell]
) -> None:
    chosen = [c for c in cells if c.variant.name in ("healthy", "unsupported")]
    finished, log = run_cells(store, [*chosen], force=True)
    assert [one.state for one in finished] == ["ran", "ran"]
    assert len(log.started) == 2
    again = finished[0].record
    assert again is not None
    assert first["healthy"].record is not None
    assert again.metrics == first["healthy"].record.metrics
    assert again.provenance.invocation != first["healthy"].record.provenance.invocation


def test_every_record_is_handed_on_once_and_after_it_is_stored(tmp_path: Path) -> None:
    store, heard = RecordStore(tmp_path), []

    def hear(record: Record) -> None:
        assert store.read(record.key) == record
        heard.append(record.key)

    cells = cells_of(["none"], seeds=2)
    run_cells(tmp_path, cells, on_record=hear)
    run_cells(tmp_path, cells, on_record=hear)
    assert heard == [cell.key for cell in cells]


class EndsAtOnce:
    """A place where a job ends with a given outcome."""

    count = 1

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.started = outcome, list[str]()

    def start(self, job: Job) -> None:
        self.started.append(job.cell.key)

    def wait(self, seconds: float) -> list[Progressed | Ended]:
        return [Ended(self.started.pop(), self.outcome, 1.0)] if self.started else []

    def stop(self) -> None:
        pass


def test_what_no_record_holds_becomes_an_error_that_says_so(tmp_path: Path) -> None:
    half = Estimate(value=0.5, standard_error=0.1, n=4)
    outcome = Outcome("oom", "none left", shortcuts={"a\x1b[2Jb": half})
    cells = cells_of(["none"])
    finished, _ = run_cells(tmp_path, cells, places=EndsAtOnce(outcome))
    record = RecordStore(tmp_path).read(cells[0].key)
    assert record is not None
    assert record == finished[0].record
    assert record.status == "error"
    assert "cannot be recorded: shortcuts" in record.message


def test_a_cell_whose_settings_no_record_holds_is_said_and_stops_no_other(tmp_path: Path) -> None:
    one, two = cells_of(["none"], seeds=2)
    one = replace(one, config={"x": "\x1b"})
    finished, _ = run_cells(tmp_path, [one, two], places=EndsAtOnce(Outcome("oom", "none left")))
    assert [f.state for f in finished] == ["blocked", "ran"]
    assert (
        "settings cannot be recorded: config: it holds control characters" in finished[0].problem
    )
    assert [path.name for path in (tmp_path / "locks").glob("*.space")] == []


def test_a_foreign_file_in_a_records_place_blocks_its_cell_alone(tmp_path: Path) -> None:
    one, two = cells_of(["none"], seeds=2)
    store = RecordStore(tmp_path)
    store.folder.mkdir()
    store.path(one.key).write_text("my shopping list")
    finished, _ = run_cells(tmp_path, [one, two])
    assert [f.state for f in finished] == ["blocked", "ran"]
    assert store.path(one.key).name in finished[0].problem
    assert store.path(one.key).read_text() == "my shopping list"


def test_a_store_that_cannot_be_written_blocks_cells_with_a_sentence(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    (finished,), _ = run_cells(place, cells_of(["none"]))
    assert finished.state == "blocked"
    assert str(place) in finished.problem
    assert place.read_text() == "not a folder"


def test_a_cell_that_another_process_is_at_is_waited_for_and_not_run(tmp_path: Path) -> None:
    other, cell = cells_of(["none"], seeds=2)
    store = RecordStore(tmp_path)
    (tmp_path / "locks").mkdir()
    lock = FileLock(tmp_path / "locks" / f"{cell.key}.lock", thread_local=False)
    lock.acquire()

    def end() -> None:
        store.write(make_record(cell.key, variant="none"))
        lock.release()

    timer = threading.Timer(2.0, end)
    timer.start()
    finished, log = run_cells(tmp_path, [cell, other])
    timer.join()
    assert [one.state for one in finished] == ["already done", "ran"]
    assert log.started == [other.key]
    assert set(log.waited) == {cell.key}
    assert log.finished == [other.key, cell.key]


def test_ctrl_c_in_a_cell_ends_its_process_and_leaves_no_record(tmp_path: Path) -> None:
    marker = tmp_path / "process"
    path = write(tmp_path, "hangs", HANGS.format(marker=str(marker)))

    def interrupt(number: int, frame: object) -> None:
        if not marker.exists() or not marker.read_text():
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # not yet in the cell: look again
            return
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_cells(tmp_path / "store", cells_of(["hangs"], include=[path]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert list((tmp_path / "store").glob("records/*")) == []
    assert wait_until(lambda: not Path("/proc", marker.read_text()).exists(), 10)


def test_an_unsupported_pattern_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = write(tmp_path, "narrow", patterns="ns")
    with pytest.raises(CabError, match="narrow does not support cs"):
        cells_of(["narrow"], include=[path])


PLUGGED = """from cab.registry import register_task
from cab.tasks.retrieval.mqar import Mqar

@register_task(name="plugged", domain="retrieval", pattern="cs", summary="for a test", version=1,
               backbone="decoder", metric="accuracy", higher_is_better=True, length="128 tokens")
class Plugged(Mqar):
    def shortcuts(self, batch):
        raise ValueError("no short way today")
"""


def test_a_task_of_another_package_that_fails_after_its_test_is_an_error_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugged_task.py").write_text(PLUGGED)
    package = tmp_path / "plugged-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[cab.tasks]\nplugged = plugged_task\n")
    monkeypatch.syspath_prepend(tmp_path)
    cells = cells_of(["none"], tasks=("plugged", "mqar"))
    assert [cell.task.name for cell in cells] == ["plugged", "mqar"]
    finished, _ = run_cells(tmp_path / "store", cells)
    ends = [one.record for one in finished]
    assert [record and record.status for record in ends] == ["error", "ok"]
    assert ends[0] is not None
    assert "no short way today" in ends[0].message


def test_a_record_names_the_code_as_it_was_before_the_cell_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def committed(revision: str, changes: str) -> None:
        git = {"rev-parse": revision, "status": changes}
        monkeypatch.setattr(environment, "_git", lambda root, command, *_: git[command])
        environment.git_state.cache_clear()

    committed("a" * 40, " M cab/task.py")
    runner = Runner(RecordStore(tmp_path), Path("/nowhere"), "cpu", Log())
    committed("b" * 40, "")
    (finished,) = runner.run(cells_of(["none"]))
    monkeypatch.undo()
    environment.git_state.cache_clear()
    assert finished.record is not None
    said = finished.record.provenance
    assert (said.git_revision, said.git_dirty) == ("a" * 40, True)
