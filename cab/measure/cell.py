"""One cell in its own process: check, warm up, take samples, count memory, check again."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from random import Random
from typing import Any

import torch

from cab.measure.built import build
from cab.measure.ceilings import POSSIBLE, Ceilings, measure_ceilings
from cab.measure.flops import of_pass
from cab.measure.gate import Checked, Wrong, check_implementation, check_timed
from cab.measure.memory import Memory, measure_memory
from cab.measure.passes import Passage
from cab.measure.points import Cell, MechanismName, Point
from cab.measure.record import (
    BenchRow,
    Comparison,
    MeasuredCeilings,
    MemoryUse,
    Status,
    Timing,
    Work,
)
from cab.measure.sampling import FEWEST, Taken, interleave, warm_up
from cab.measure.statistics import noise_floor, paired_ratio, summarise
from cab.measure.telemetry import device_state
from cab.measure.timers import Timer, choose_timer, load_average
from cab.measure.waits import Waits
from cab.records.fields import WRITTEN_TEXT
from cab.records.text import clean
from cab.running.environment import describe
from cab.running.worker import classify, follow_parent, limit_memory

SECOND_THOUGHTS = 5
"""How often the ceilings are measured after sampling, at most."""
LAUNCH_BOUND = 1.1
"""A row is launch-bound if its host time is more than this many times its device time."""


@dataclass
class Course:
    """The state of one mechanism in a cell."""

    name: MechanismName
    status: Status = "ok"
    message: str = ""
    passage: Passage | None = None
    checked: Checked | None = None
    taken: Taken | None = None
    memory: Memory | None = None
    work: dict[str, Any] = field(default_factory=dict)


def work(cell: Cell, connection: Connection) -> None:
    """Run a cell and send its rows over a pipe."""
    follow_parent()
    if cell.point.device == "cpu":
        limit_memory(cell.limits.memory_gib)
    connection.send(run(cell))


def run(cell: Cell) -> list[BenchRow]:
    """Measure a cell in this process; a mechanism's exception becomes its row's status."""
    torch.set_num_threads(cell.threads)
    timer = choose_timer(cell.point.device)
    courses = [Course(name) for name in cell.mechanisms]
    salt = secrets.randbits(62)  # one for all, so that they have the same numbers
    state = dict(device_state(cell.point.device, "before"))
    ceilings = measure_ceilings(cell.point.device, cell.point.dtype, timer)
    for course in courses:
        _guard(cell, course, lambda c: _prepare(cell, c, timer, salt))
    before = Waits.now()
    _sample(cell, courses, timer)
    waited = Waits.now().share(before)
    state |= device_state(cell.point.device, "after")
    for course in courses:
        if course.taken is not None:
            _guard(cell, course, lambda c: _finish(cell, c))
    # A ceiling is the best rate of the device, also while cells run: measure it several times
    # before a time is called impossible.
    for _ in range(SECOND_THOUGHTS):
        again = measure_ceilings(cell.point.device, cell.point.dtype, timer)
        ceilings = ceilings.best(again)
        rows = [_row(cell, course, courses, timer, ceilings, state, waited) for course in courses]
        if all(row.status != "impossible" for row in rows):
            break
    return rows


def _guard(cell: Cell, course: Course, step: Callable[[Course], None]) -> None:
    if course.status != "ok":
        return
    try:
        step(course)
    except Exception as error:  # the mechanism may raise anything
        _failed(cell, course, error)


def _failed(cell: Cell, course: Course, error: Exception) -> None:
    course.passage = course.taken = None
    if isinstance(error, Wrong):
        course.status, course.message = "refused", str(error)
        return
    status, course.message = classify(error, cell.limits.memory_gib)
    course.status = status if status in ("oom", "unsupported") else "error"


def _prepare(cell: Cell, course: Course, timer: Timer, salt: int) -> None:
    """Check a mechanism, build it, warm it up, and test whether its samples fit the time limit."""
    course.checked = check_implementation(course.name, cell.point, (cell.seed, "before"))
    passage = Passage(build(course.name, cell.point), salt)
    seconds = warm_up(passage, timer, cell.limits.warm_seconds)
    needed = seconds * max(FEWEST, cell.limits.samples) * (2 if cell.point.passage == "bwd" else 1)
    allowed = cell.limits.cell_seconds / len(cell.mechanisms)
    if needed > allowed:
        course.status = "timeout"
        course.message = (
            f"one call takes {seconds:.3g} s, so its samples would take {needed:.0f} s, but each "
            f"mechanism of the cell has {allowed:.0f} s; raise --time-limit."
        )
        return
    course.passage = passage


def _sample(cell: Cell, courses: list[Course], timer: Timer) -> None:
    by_passage = {c.passage: c for c in courses if c.passage is not None}
    taken = interleave(
        list(by_passage),
        timer,
        cell.limits,
        Random(cell.seed),
        lambda passage, error: _failed(cell, by_passage[passage], error),
    )
    for passage, one in taken.items():
        by_passage[passage].taken = one


def _finish(cell: Cell, course: Course) -> None:
    """Count memory and work, then check what was timed."""
    passage, taken = course.passage, course.taken
    assert passage is not None
    assert taken is not None
    course.memory = measure_memory(passage)
    if cell.point.passage not in ("decode", "prefill") or course.name.operator:
        course.work = of_pass(passage.mechanism.work(), cell.point.passage)
    check_timed(passage, taken.last_sample, taken.last_result, (cell.seed, time.time_ns()))
    check_implementation(course.name, cell.point, (cell.seed, "after"))


def _row(
    cell: Cell,
    course: Course,
    courses: list[Course],
    timer: Timer,
    ceilings: Ceilings,
    state: Any,
    waited: float | None,
) -> BenchRow:
    timing = _timing(course, timer, cell.point)
    done = _work(course, ceilings, timing)
    status, message = course.status, course.message
    if timing and done and timing.median < POSSIBLE * done.ceiling_seconds:
        status = "impossible"
        message = (
            f"{timing.median:.3g} s is below the hardware's limit for this work, "
            f"{done.ceiling_seconds:.3g} s at the rates measured in the same run. The mechanism "
            f"skips part of its work, or its work is counted wrongly."
        )
    checked, memory = course.checked, course.memory
    return BenchRow(
        **row_key(cell, course.name),
        status=status,
        message=clean(message, WRITTEN_TEXT),
        timing=timing,
        memory=None
        if memory is None or timing is None
        else MemoryUse(
            peak=memory.peak,
            workspace=memory.workspace,
            outputs=memory.outputs,
            saved=memory.saved,
            held=memory.held,
            state=memory.state,
        ),
        work=done,
        ceilings=MeasuredCeilings(
            flops=ceilings.flops, exponentials=ceilings.exponentials, bytes=ceilings.bytes
        ),
        against={} if timing is None else _against(cell, course, courses),
        gate_error=None if checked is None else checked.error,
        gate_limit=None if checked is None else checked.limit,
        load=load_average(),
        waited=waited,
        device_state=state,
    )


def row_key(cell: Cell, name: MechanismName) -> dict[str, Any]:
    """Return the fields of a row for what was measured, at which point, on which machine."""
    point = cell.point
    return {
        "subject": name.label,
        "role": "candidate" if name.label in cell.candidates else "baseline",
        "operator": name.operator,
        "name": name.name,
        "options": dict(name.options),
        "seed": cell.seed,
        "environment": describe(point.device, cell.threads),
        "measured": datetime.now(UTC),
        "pattern": point.pattern,
        "passage": point.passage,
        "length": point.length,
        "keys": point.keys or point.length,
        "batch": point.batch,
        "heads": point.heads,
        "key_heads": point.key_heads or point.heads,
        "head_width": point.head_width,
        "value_width": point.value_width or point.head_width,
        "window": point.window,
        "alignment": point.alignment,
        "dtype": point.dtype,
    }


def _timing(course: Course, timer: Timer, point: Point) -> Timing | None:
    taken = course.taken
    if taken is None or course.passage is None:
        return None
    cold, host = summarise(taken.cold), summarise(taken.host)
    return Timing(
        timer=timer.name,
        samples=tuple(taken.cold),
        host_samples=tuple(taken.host),
        warm_samples=tuple(taken.warm),
        median=cold.median,
        low=cold.low,
        high=cold.high,
        p20=cold.p20,
        p80=cold.p80,
        warm_median=summarise(taken.warm).median,
        tokens_per_second=point.tokens / cold.median,
        prepare_seconds=course.passage.mechanism.prepare_seconds,
        launch_bound=host.median > LAUNCH_BOUND * cold.median,
        noise_floor=noise_floor(taken.cold),
    )


def _work(course: Course, ceilings: Ceilings, timing: Timing | None) -> Work | None:
    if not course.work or timing is None:
        return None
    flops, exponentials = course.work["flops"], course.work["exponentials"]
    least = ceilings.seconds(flops, exponentials, course.work["bytes"])
    return Work(
        **course.work,
        ceiling_seconds=least,
        serial_ceiling_seconds=ceilings.serial_seconds(flops, exponentials),
        share=least / timing.median,
    )


def _against(cell: Cell, course: Course, courses: list[Course]) -> dict[str, Comparison]:
    found = {}
    for other in courses:
        if other is course or other.name.label not in cell.baselines:
            continue
        if other.taken is None or course.taken is None:
            continue
        ratio = paired_ratio(course.taken.cold, other.taken.cold)
        memory = None
        if course.memory and other.memory and other.memory.peak:
            memory = course.memory.peak / other.memory.peak
        found[other.name.label] = Comparison(
            time=ratio.value, low=ratio.low, high=ratio.high, memory=memory
        )
    return found
