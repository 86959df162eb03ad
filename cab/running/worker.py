"""What happens inside a cell's own process: build, train, validate, test; say how it ended."""

import gc
import multiprocessing
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from cab.attention import Attention, build_attention
from cab.backbones.slots import Slots
from cab.errors import CabError, Unsupported
from cab.profiles import Profile
from cab.records.fields import WRITTEN_TEXT
from cab.records.store import AtLength, AtLevel, Estimates, Metrics, Status
from cab.records.text import text_of
from cab.registry import Registry, discover_tasks, discover_variants, name_of_role
from cab.running import checkpoints, ranks
from cab.running.awake import awake, start_clock
from cab.running.cells import Cell
from cab.running.environment import describe
from cab.running.facts import (
    count_parameters,
    count_training_flops,
    fingerprint,
    shortcut_estimates,
)
from cab.running.fork_server import PARENTS
from cab.running.jobs import Job, Outcome
from cab.running.training import DivergedError, Report, evaluate, over_levels, train
from cab.seeding import seed_all
from cab.task import LENGTH_FACTORS, LONGEST, Batch, Task, level_names
from cab.taxonomy import VariantCard

GIB = 1 << 30


def work(job: Job, connection: Connection) -> None:
    """Run a job and send ("progress", (done, all)) messages, then ("outcome", Outcome)."""
    gc.freeze()  # what came with the fork is nobody's garbage, and looking through it takes long
    follow_parent()
    start_clock()
    last_sent = 0.0

    def report(done: int, total: int) -> None:
        nonlocal last_sent
        now = time.monotonic()
        if now - last_sent > 0.2 or done == total:
            last_sent = now
            connection.send(("progress", (done, total)))

    connection.send(("outcome", run(job, report)))


def follow_parent() -> None:
    """Leave its signals to the parent, and end at once when that is gone.

    What is printed here goes to stderr: it is no result.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in PARENTS:
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)


def _end_with_parent() -> None:
    """Wait for the parent to be gone, then end: the cell is another run's to do."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def run(job: Job, report: Report = lambda done, total: None) -> Outcome:
    """Run a job in this process; every failure of the cell's own becomes an outcome."""
    outcome = Outcome()
    memory_limit = job.cell.profile.memory_limit
    if job.threads:
        torch.set_num_threads(job.threads)
    if job.device == "cpu":  # a CUDA context maps more than it uses
        limit_memory(memory_limit)
    elif job.gpu is not None:
        memory_limit = limit_gpu(job.gpu, job.gpu_share, memory_limit)
    try:
        with ranks.group(job.cell.processes, job.device, assist, job):
            perform(job, outcome, report)
        outcome.status = "ok"
    except Exception as error:  # the variant may raise anything
        outcome.status, outcome.message = classify(error, memory_limit)
        outcome.metrics = Metrics()  # a cell that failed after its test has no result
    outcome.cost["peak_bytes"] = _peak_bytes(job.device)
    return outcome


def assist(job: Job, rank: ranks.Rank) -> None:
    """Run a job beside the cell's own process, of which this one is a child."""
    follow_parent()
    torch.set_num_threads(max(1, torch.get_num_threads() // rank.size))
    if job.device == "cpu":
        limit_memory(job.cell.profile.memory_limit)
    with rank.joined():
        perform(job, Outcome(), lambda done, total: None)


def classify(error: Exception, memory_limit: float) -> tuple[Status, str]:
    """Name the outcome that an exception stands for, and say it in a sentence."""
    text = text_of(error, WRITTEN_TEXT // 2)
    if isinstance(error, Unsupported):
        return "unsupported", text
    if isinstance(error, CabError):
        return "error", text
    if isinstance(error, DivergedError):
        return "diverged", text
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text
    ):
        return "oom", f"out of memory (limit {memory_limit:g} GiB): {text}"
    own = [
        f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename
    ]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return "error", f"{type(error).__name__}: {text}{where}"


def limit_memory(gib: float) -> None:
    """Bound this process's own data, so that an oversized cell fails alone and is told so."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(gib * GIB)
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def limit_gpu(gpu: str, share: float, gib: float) -> float:
    """See one GPU alone, and take at most a share of its memory; return the limit in GiB.

    Cells that share a GPU thereby run out of memory by their own size, not by their neighbours'.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if share >= 1:
        return gib
    torch.cuda.set_per_process_memory_fraction(share)
    return share * torch.cuda.get_device_properties(0).total_memory / GIB


def perform(job: Job, outcome: Outcome, report: Report) -> None:
    """Build, train and test in this process as it is, and write what is found into the outcome."""
    began = started = awake()
    cell = job.cell
    # Some variants leave parameters out of some steps, which several processes must agree on.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=job.device == "cpu", kwargs_handlers=[unused])
    torch.use_deterministic_algorithms(True, warn_only=True)
    outcome.environment = describe(
        str(accelerator.device), torch.get_num_threads(), cell.processes
    )
    task = _build_task(job)
    slots = slots_for(cell, task, job.variants)
    # The global generator seeds initialisation and dropout; this process runs this cell alone.
    seed_all(accelerator.device, cell.task.name, cell.task.version, "model", cell.seed)
    model = task.build(slots)
    outcome.parameters = count_parameters(slots.tested)
    outcome.cost["backbone_parameters"] = count_parameters([model]) - outcome.parameters
    levels = task.at_levels()
    tests = [level.examples("test") for level in levels]
    outcome.data_fingerprint = fingerprint(*(level.examples("valid") for level in levels), *tests)
    outcome.cost["flops"] = count_training_flops(task, model)
    if accelerator.process_index:  # dropout differs between processes, what is built does not
        seed_all(accelerator.device, cell.task.name, "rank", accelerator.process_index, cell.seed)
    model = model.to(accelerator.device)
    outcome.cost["setup_seconds"] = awake() - started

    trained = train(task, model, accelerator, cell.seed, report)
    outcome.curve = trained.curve
    outcome.cost |= {
        "seconds": trained.seconds,
        "data_seconds": trained.data_seconds,
        "steps": cell.recipe.train.steps,
        "tokens": trained.tokens,
    }
    if cell.checkpoints is not None and accelerator.is_main_process:
        checkpoints.save(model, cell, cell.checkpoints)
    started = awake()
    measured = [
        evaluate(level, model, test, accelerator)
        for level, test in zip(levels, tests, strict=True)
    ]
    shortcuts = [shortcut_estimates(*both) for both in zip(levels, tests, strict=True)]
    outcome.metrics = Metrics(
        valid=trained.valid,
        test=over_levels(measured),
        levels=_ladder(task, trained.levels, measured, shortcuts),
    )
    outcome.shortcuts = over_levels(shortcuts)
    outcome.cost["evaluation_seconds"] = trained.evaluation_seconds + awake() - started
    curve = length_curve(task, model, accelerator, tests[-1], measured[-1], cell.profile, began)
    outcome.metrics = outcome.metrics.model_copy(update={"lengths": curve})


def _ladder(
    task: Task, valid: Sequence[Estimates], test: Sequence[Estimates], cut: Sequence[Estimates]
) -> tuple[AtLevel, ...]:
    """The task's metric at each of its levels; nothing of a task that has none."""
    metric, names = task.card.metric, level_names(task.recipe.levels)
    each = enumerate(zip(names, valid, test, cut, strict=True), 1) if names else ()
    return tuple(
        AtLevel(level=number, name=name, valid=v[metric], test=t[metric], shortcuts=s)
        for number, (name, v, t, s) in each
    )


def length_curve(
    task: Task,
    model: torch.nn.Module,
    accelerator: Accelerator,
    test: Batch,
    measured: Estimates,
    profile: Profile,
    began: float,
    factors: Sequence[float] = LENGTH_FACTORS,
) -> tuple[AtLength, ...]:
    """Test a trained model at the task's other lengths, shortest first, `test` among them.

    What fails at a length is an outcome there and costs the cell nothing. A length that might not
    end in the profile's time, counted from `began`, is not started.
    """
    metric, curve, last = task.card.metric, [], 0.0
    others = task.at_lengths(factors)
    for factor in sorted({*others, 1.0} if others else ()):
        started = awake()
        other = others.get(factor, task)
        examples = test if factor == 1 else other.examples("test")
        point: dict[str, Any] = {
            "factor": factor,
            "length": other.tokens(examples) // len(next(iter(examples.values()))),
        }
        try:
            # Twice the length may take four times as long, in an evaluation of as many tokens.
            if started - began + 4 * last > profile.time_limit:
                raise TimeoutError(
                    f"not started: too little of the {profile.time_limit:g} s time limit was left"
                )
            found = measured if factor == 1 else evaluate(other, model, examples, accelerator)
            curve.append(AtLength(**point, estimate=found[metric]))
        except TimeoutError as error:
            curve.append(AtLength(**point, status="timeout", message=str(error)))
        except Exception as error:  # the variant may raise anything
            status, message = classify(error, profile.memory_limit)
            curve.append(AtLength(**point, status=status, message=message))
        last = max(last, awake() - started)
    return tuple(curve)


def _build_task(job: Job) -> Task:
    task_class = (job.tasks or discover_tasks(job.cell.include)).load(job.cell.task.name)
    assert issubclass(task_class, Task)
    return task_class(job.cell.recipe, job.data_dir)


def slots_for(cell: Cell, task: Task, known: Registry[VariantCard] | None = None) -> Slots:
    """Return slots that a cell's variant, and the reference beside it, are to fill.

    A task with tests at other lengths builds its network for LONGEST times the training length.
    """
    variants = known or discover_variants(cell.include, tolerant=True)
    variants.load(cell.variant.name)  # before a seed is set: a module may draw when it is imported

    def build(name: str, options: dict[str, Any], **geometry: Any) -> Attention:
        attention = variants.load(name)  # many tasks have no slot for the reference
        assert issubclass(attention, Attention)
        return build_attention(attention, options, **geometry)

    return Slots(
        cell.task.pattern,
        partial(build, cell.variant.name, dict(cell.options)),
        partial(build, name_of_role(variants, "reference"), {}),
        stretch=LONGEST if task.at_lengths() else 1,
    )


def _peak_bytes(device: str) -> int:
    gc.collect()
    if device != "cpu" and torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
