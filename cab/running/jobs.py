"""What is sent to the process or machine that runs a cell, and what it returns."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from cab.errors import CabError
from cab.records.sources import Sources
from cab.records.store import CurvePoint, Environment, Estimates, Metrics, Status
from cab.registry import Entry, Registry, discover_tasks, discover_variants, name_of_role
from cab.running.cells import Cell
from cab.taxonomy import TaskCard, VariantCard

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Job:
    """A cell and where to run it.

    variants and tasks hold what the cell needs of them, found when it was planned: to read a
    hundred cards anew takes longer than a small cell. Without them the worker looks itself.

    threads: how many the cell may use; by default what PyTorch finds.
    gpu, gpu_share: the one GPU that it sees, and how much of its memory it may take.
    """

    cell: Cell
    data_dir: Path
    device: Device
    variants: Registry[VariantCard] | None = None
    tasks: Registry[TaskCard] | None = None
    threads: int | None = None
    gpu: str | None = None
    gpu_share: float = 1.0


class Jobs:
    """Makes jobs of cells, with what their variants and tasks need, looked for once."""

    def __init__(self, data_dir: Path, device: Device) -> None:
        self._data_dir, self._device = data_dir, device
        self._sources = Sources()
        self._known: dict[tuple[Path, ...], tuple[Registry[VariantCard], Registry[TaskCard]]] = {}

    def of(self, cell: Cell) -> Job:
        """The job of a cell.

        Raises:
            CabError: the variant or the task is not the one that was planned.
        """
        if cell.include not in self._known:
            variants = discover_variants(cell.include, tolerant=True)
            self._known[cell.include] = variants, discover_tasks(cell.include, tolerant=True)
        variants, tasks = self._known[cell.include]
        check_source(cell, variants, tasks, self._sources)
        needed = variants.only(cell.variant.name, name_of_role(variants, "reference"))
        return Job(cell, self._data_dir, self._device, needed, tasks.only(cell.task.name))


def check_source(
    cell: Cell, variants: Registry[VariantCard], tasks: Registry[TaskCard], sources: Sources
) -> None:
    """See that a cell's variant and task have the sources that stand in its key.

    Raises:
        CabError: one of them has another.
    """
    planned: list[tuple[Entry[Any], str]] = [(variants.entry(cell.variant.name), cell.source_hash)]
    if cell.task_source is not None:
        planned.append((tasks.entry(cell.task.name), cell.task_source))
    for entry, source in planned:
        if sources.hash(entry.path) != source:
            raise CabError(
                f"The source of {entry.card.name} ({entry.path}) has changed since the run was "
                f"planned. If you edited it, rerun the command; otherwise install the same "
                f"version on all machines."
            )


@dataclass
class Outcome:
    """What a cell gave, as far as it came; the parent makes a record of it."""

    status: Status = "error"
    message: str = ""
    metrics: Metrics = field(default_factory=Metrics)
    shortcuts: Estimates = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    data_fingerprint: str | None = None
    environment: Environment | None = None


@dataclass(frozen=True)
class Progressed:
    """A job has done some of its training steps."""

    key: str
    done: int
    total: int


@dataclass(frozen=True)
class Ended:
    """A job has ended, `seconds` after it was started."""

    key: str
    outcome: Outcome
    seconds: float


class Places(Protocol):
    """Where jobs run, several at once: processes of this machine, or tasks of a cluster."""

    @property
    def count(self) -> int:
        """How many jobs it takes at once."""

    def start(self, job: Job) -> None:
        """Start a job; at most `count` run at once."""

    def wait(self, seconds: float) -> list[Progressed | Ended]:
        """Return what has happened, after at most so many seconds; each job ends once."""

    def stop(self) -> None:
        """End what still runs, and wait until it is gone."""


@contextmanager
def stopping(places: Places) -> Iterator[Places]:
    """Whatever happens, leave no job behind."""
    try:
        yield places
    finally:
        places.stop()
