"""Sweeps on a Ray cluster: a cell is a task; this process alone writes to the store.

So the nodes need no common disk, except for data sets and included files, which must be at the
same path everywhere. A task whose worker or node is lost is tried again by Ray; only a task that
came to its end is written down, so that a cell has one record whatever was lost on the way.
"""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cab.errors import CabError, counted
from cab.records.sources import Sources
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell
from cab.running.execution import Finished, Runner
from cab.running.jobs import Device, Ended, Job, Outcome, Progressed, check_source
from cab.running.processes import Processes

RETRIES = 3
"""How often a task is tried again whose worker was lost: a cell may be what kills its node."""
LOOK_AGAIN = 5.0
"""Seconds after which the cluster may have another size."""


@dataclass(frozen=True)
class RayExecutor:
    """Cells as Ray tasks, each in a process of its own below Ray's worker.

    Args:
        address: of a running cluster, or None for one that is made on this machine.
        workers: cells at once; by default as many as the cluster has CPUs or GPUs for.
        threads: a task's CPUs.
        device: `auto` is a GPU if the cluster has one.
        cells_per_gpu: a task takes one such part of a GPU, if the device is a GPU.
        processes: of a cell, with a GPU each.
    """

    device: Device | Literal["auto"] = "auto"
    address: str | None = None
    workers: int | None = None
    threads: int = 1
    cells_per_gpu: int = 1
    processes: int = 1

    @property
    def gpus(self) -> float:
        """How many GPUs a task takes."""
        return self.processes / self.cells_per_gpu if self.device == "cuda" else 0

    @property
    def said(self) -> str:
        """How they run, in words."""
        return f"as tasks of Ray, {counted(self.threads, 'thread')} each"

    def run(self, cells: Sequence[Cell], runner: Runner) -> Generator[Finished, None, None]:
        """Run cells as the runner says; yield each once, as soon as it needs nothing more."""
        with _connected(self.address, self.workers and self.workers * self.threads):
            device: Device = "cuda" if self.device == "cuda" else "cpu"
            if self.device == "auto" and _ray().cluster_resources().get("GPU"):
                device = "cuda"
            places = _Tasks(replace(self, device=device))
            places.check_room()
            yield from replace(runner, device=device, places=places).each(cells)


@dataclass
class _Tasks:
    """`Places` on a cluster."""

    executor: RayExecutor
    _running: dict[Any, str] = field(default_factory=dict)
    _capacity: int = 0
    _looked: float = float("-inf")

    @property
    def count(self) -> int:
        """How many tasks the cluster has room for, as it is now; nodes come and go."""
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self._looked, self._capacity = time.monotonic(), self._room()
        return self._capacity

    def check_room(self) -> None:
        """See that a task will find a place: Ray itself waits for one, and says nothing.

        Raises:
            CabError: no node has what a task asks for.
        """
        wanted, gpus = self.executor, self.executor.gpus
        nodes = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
        if any(n.get("CPU", 0) >= wanted.threads and n.get("GPU", 0) >= gpus for n in nodes):
            return
        asked = counted(wanted.threads, "CPU")
        asked += f" and {counted(math.ceil(gpus), 'GPU')}" if gpus else ""
        raise CabError(
            f"No node of the Ray cluster has {asked}, which each cell needs. Use fewer "
            f"--threads or --device cpu, or start such a node."
        )

    def _room(self) -> int:
        resources, wanted = _ray().cluster_resources(), self.executor
        room = int(resources.get("CPU", 0)) // wanted.threads
        if wanted.device == "cuda":
            room = min(room, int(resources.get("GPU", 0) / wanted.gpus))
        return max(1, min(room, wanted.workers or room))

    def start(self, job: Job) -> None:
        """Hand a job to the cluster."""
        wanted, ray, gpus = self.executor, _ray(), self.executor.gpus
        job = replace(job, threads=wanted.threads, gpu_share=min(gpus, 1.0) or 1.0)
        task = ray.remote(num_cpus=wanted.threads, num_gpus=gpus, max_retries=RETRIES)(run_job)
        self._running[task.remote(job)] = job.cell.key

    def wait(self, seconds: float) -> list[Progressed | Ended]:
        """Return the tasks that have ended, after at most so many seconds."""
        if not self._running:
            time.sleep(seconds)
            return []
        ray, references = _ray(), list(self._running)
        ray.wait(references, timeout=seconds, fetch_local=False)
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [self._ended(reference) for reference in ready]

    def _ended(self, reference: Any) -> Ended:
        key, ray = self._running.pop(reference), _ray()
        try:
            outcome, seconds = ray.get(reference)
        except ray.exceptions.RayTaskError as error:  # the node is there, and CAB failed on it
            last = str(error).strip().splitlines()[-1]
            return Ended(
                key, Outcome(message=f"The cell could not be started on its node: {last}"), 0.0
            )
        except ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0]
            message = f"Ray lost the cell's worker {RETRIES + 1} times: {first}"
            return Ended(key, Outcome(message=message), 0.0)
        return Ended(key, outcome, seconds)

    def stop(self) -> None:
        """Cancel what still runs."""
        for reference in self._running:
            _ray().cancel(reference, force=True)
        self._running.clear()


def run_job(job: Job) -> tuple[Outcome, float]:
    """Run a job below a worker of Ray, in a process of its own with the profile's limits."""
    if job.device == "cuda":
        job = replace(job, gpu=os.environ["CUDA_VISIBLE_DEVICES"])
    places = Processes(1)
    try:
        files = job.cell.include
        variants = discover_variants(files, tolerant=True)
        check_source(job.cell, variants, discover_tasks(files, tolerant=True), Sources())
    except CabError as error:
        return Outcome(message=f"{os.uname().nodename}: {error}"), 0.0
    try:
        places.start(job)
        while True:
            for event in places.wait(60.0):
                if isinstance(event, Ended):
                    return event.outcome, event.seconds
    finally:
        places.stop()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise CabError(
            "--executor ray needs Ray: pip install 'comprehensive-attention-benchmark[ray]'."
        ) from None
    return ray


@contextlib.contextmanager
def _connected(address: str | None, cpus: int | None) -> Iterator[None]:
    """Be connected to a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What a task without a GPU sees is CAB's matter, and Ray would warn of a later default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = _ray()
    # Ray would answer a request to end in its own way, and leave the sweep without a word.
    before = signal.getsignal(signal.SIGTERM)
    # Without "local", Ray would join any cluster that someone started on this machine.
    own = {} if address else {"num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = f"There is no Ray cluster at {address}" if address else "Ray does not start here"
        raise CabError(f"{what}: {error}") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    # Ray says on stdout when a node is lost, at the latest when it ends; there stand results.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            ray.shutdown()
