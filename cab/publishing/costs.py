"""Can a cell have cost what its record says, and is it of the data that others used?"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from cab.publishing.recount import ModelFacts, TaskFacts
from cab.records.store import Record
from cab.running.cells import Cell

FASTEST_CORE, FASTEST_ACCELERATOR = 1e12, 1e16
"""Floating-point operations a second that no thread of a processor, and no accelerator, exceeds
in 32 bits. The fastest among the 615 published records is 5e10 on one thread."""

PARAMETER_BYTES = 16
"""Bytes that training keeps of a parameter: it, its gradient and AdamW's two moments."""

OPTIONAL = {"data_seconds"}
"""Costs that records of before do not hold."""

GIB = 1 << 30
CLOCK = 1.0
"""Seconds by which sums of times may differ from clocks."""


def cost_problems(record: Record, cell: Cell) -> Iterator[str]:
    """Yield a sentence for each cost of a record that is impossible whatever the variant."""
    cost, where = record.cost, record.environment
    least = {
        "seconds": 0.0,
        "data_seconds": 0.0,
        "setup_seconds": 0.0,
        "evaluation_seconds": 0.0,
        "total_seconds": 0.0,
        "flops": 0,
        "tokens": 1,
        "peak_bytes": 1,
        "backbone_parameters": 0,
    }
    for name, low in least.items():
        value = getattr(cost, name)
        if value is not None and value < low:
            yield f"its {name} is {value:.4g}, less than {low:g}"
            return
    began, ended = (_aware(one) for one in (record.provenance.started, record.provenance.ended))
    if ended > datetime.now(UTC) + timedelta(days=1):
        yield f"it ended in the future, on {ended.date()}"
    if cost.total_seconds > (ended - began).total_seconds() + CLOCK:
        yield "it took longer than from its start to its end"
    if cost.peak_bytes is not None and cost.peak_bytes > 2 * cell.profile.memory_limit * GIB:
        yield f"its peak_bytes, {cost.peak_bytes:.4g}, is over twice the limit of memory"
    if record.status != "ok":
        return
    needed = {**dict.fromkeys(least.keys() - OPTIONAL), "steps": None}
    if absent := [name for name in needed if getattr(cost, name) is None]:
        yield f"it lacks the costs {', '.join(absent)}"
        return
    assert cost.seconds is not None
    assert cost.flops is not None
    assert cost.peak_bytes is not None
    if cost.steps != cell.recipe.train.steps:
        yield f"it took {cost.steps} steps; the recipe has {cell.recipe.train.steps}"
    if (cost.data_seconds or 0) > cost.seconds:
        yield f"it waited {cost.data_seconds:.4g} s for data in {cost.seconds:.4g} s of training"
    spent = sum(part or 0 for part in (cost.seconds, cost.setup_seconds, cost.evaluation_seconds))
    if spent > cost.total_seconds + CLOCK:
        yield f"its parts took {spent:.4g} s, and all of it {cost.total_seconds:.4g} s"
    each = FASTEST_CORE * where.threads if where.device == "cpu" else FASTEST_ACCELERATOR
    fastest = cost.flops / (each * where.processes)
    if cost.seconds <= fastest or cost.seconds == 0:
        yield (
            f"it trained in {cost.seconds:.4g} s; {cost.flops:.4g} operations take more than "
            f"{fastest:.4g} s on its hardware"
        )
    parameters = (record.variant.parameters or 0) + (cost.backbone_parameters or 0)
    if cost.peak_bytes < PARAMETER_BYTES * parameters:
        yield f"its peak_bytes, {cost.peak_bytes}, do not hold its {parameters} parameters"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def size_problems(record: Record, facts: ModelFacts) -> Iterator[str]:
    """Yield how a record's sizes differ from those of the model that was built here."""
    for name, said, found in (
        ("parameters", record.variant.parameters, facts.parameters),
        ("backbone_parameters", record.cost.backbone_parameters, facts.backbone_parameters),
        ("flops", record.cost.flops, facts.flops),
    ):
        # A cell that failed may have failed before it was counted.
        if said != found and found is not None and (said is not None or record.status == "ok"):
            yield f"its {name} are {said}; the model that is built here has {found}"
    measured = record.metrics.test.keys()
    if record.status == "ok" and facts.metrics is not None and measured != facts.metrics:
        yield (
            f"its metrics are {', '.join(sorted(measured))}; the task measures "
            f"{', '.join(sorted(facts.metrics))}"
        )


def data_problems(
    record: Record, references: Sequence[Record], facts: TaskFacts | None
) -> Iterator[str]:
    """Yield a sentence where a record is not of the data that others used.

    Examples of sounds differ in the last bits from one kind of processor to another, so a
    fingerprint is compared with those of the published references of the same kind.

    Args:
        record: one that ended well.
        references: published records of the references on the same task and version.
        facts: what the task's recipe fixes, computed here; None where its data is missing.
    """
    said, kind = record.task.data_fingerprint, record.environment.cpu
    alike = {one.task.data_fingerprint for one in references if one.environment.cpu == kind}
    if said is None:
        yield "it has no data_fingerprint"
    elif facts is not None and facts.exact and said != facts.fingerprint:
        yield (
            f"its data_fingerprint is {said[:12]}; that of the task's examples is "
            f"{facts.fingerprint[:12]}"
        )
    elif alike and said not in alike:
        yield (
            f"its data_fingerprint is {said[:12]}, not that of the published references that ran "
            f"on {kind}"
        )
    same = {one.cost.tokens for one in references if one.seed == record.seed}
    if same and record.cost.tokens not in same:
        yield (
            f"it read {record.cost.tokens} tokens; the references of its seed read "
            f"{', '.join(map(str, sorted(same, key=str)))}"
        )


def unknown_data(record: Record, references: Sequence[Record], facts: TaskFacts | None) -> bool:
    """Whether nothing is known that a record's fingerprint can be compared with."""
    known = {one.task.data_fingerprint for one in references}
    if facts is not None:
        known.add(facts.fingerprint)
    said = record.task.data_fingerprint
    kinds = {one.environment.cpu for one in references}
    return said is not None and said not in known and record.environment.cpu not in kinds
