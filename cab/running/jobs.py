"""What goes to the process or machine that runs a cell, and what comes back from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from cab.errors import CabError
from cab.records.sources import Sources
from cab.records.store import CurvePoint, Environment, Estimates, Metrics, Status
from cab.registry import Registry, discover_tasks, discover_variants, name_of_role
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
        self._tasks: Registry[TaskCard] | None = None
        self._sources = Sources()
        self._variants: dict[tuple[Path, ...], Registry[VariantCard]] = {}

    def of(self, cell: Cell) -> Job:
        """The job of a cell.

        Raises:
            CabError: the variant is not the one that was planned.
        """
        if cell.include not in self._variants:
            self._variants[cell.include] = discover_variants(cell.include, tolerant=True)
        variants = self._variants[cell.include]
        check_source(cell, variants, self._sources)
        needed = variants.only(cell.variant.name, name_of_role(variants, "reference"))
        self._tasks = self._tasks or discover_tasks()
        tasks = self._tasks.only(cell.task.name)
        return Job(cell, self._data_dir, self._device, needed, tasks)


def check_source(cell: Cell, variants: Registry[VariantCard], sources: Sources) -> None:
    """See that a cell's variant has the source that stands in its key.

    Raises:
        CabError: it has another.
    """
    path = variants.entry(cell.variant.name).path
    if sources.hash(path) != cell.source_hash:
        raise CabError(
            f"The source of {cell.variant.name} ({path}) is not the one that was planned. If it "
            f"was edited meanwhile, say the command again; else install the same everywhere."
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
