"""Records of cells that never ran, for tables, boards and pages: every value is made up."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from cli_support import make_record

from cab.records.store import CurvePoint, Record, Settings, TaskInfo
from cab.registry import Registry, discover_tasks, discover_variants
from cab.scores.board import Board, make_board
from cab.scores.table import records_table
from cab.seeding import generator
from cab.taxonomy import Certificate, TaskCard, VariantCard

COUNTING = ("mirror", "mqar", "regress", "transcribe")
"""One task per pattern, which count in tests whatever is certified at present."""
FLOORS = (0.3, 0.1)
"""Of two levels: their mean, 0.2, is at score 0."""


def tasks_of_tests(include: tuple[Path, ...] = ()) -> Registry[TaskCard]:
    """The registered tasks, of which those of `COUNTING` are certified and no others."""
    registry = discover_tasks(include)
    entries = {
        name: replace(entry, card=_certified(entry.card))
        for name, entry in registry.entries.items()
    }
    return replace(registry, entries=entries)


def _certified(card: TaskCard) -> TaskCard:
    certificate = {"quick": Certificate(0.1, 3, {"softmax": 1.0}, floors=FLOORS)}
    counts = card.name in COUNTING
    return replace(card, certificate=certificate if counts else {}, diagnostic=())


@contextmanager
def own_tasks_scored() -> Iterator[None]:
    """Let boards, `cab show` and pages score the tasks of `COUNTING`."""
    modules = ("cab.commands.common.boards", "cab.commands.show", "cab.site.content")
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch(f"{module}.discover_tasks", tasks_of_tests))
        yield


REGISTERED: Mapping[str, TaskCard] = {card.name: card for card in tasks_of_tests().cards()}
TASKS: Mapping[str, TaskCard] = {name: REGISTERED[name] for name in (*COUNTING, "byte-lm")}
"""The tasks that count, and one that does not."""
VARIANTS: Mapping[str, VariantCard] = {card.name: card for card in discover_variants().cards()}


def key_of(*names: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, names)).encode()).hexdigest()[:32]


def made(
    variant: str, task: str, values: Sequence[float], profile: str = "quick", **fields: Any
) -> list[Record]:
    """A record per value, seeds from 0, on a registered task.

    Validation gave the same as test, or `valid`; the learning rate is `rate`, one of `rates`.
    """
    card = REGISTERED[task]
    valid, rate, rates = (fields.pop(name, None) for name in ("valid", "rate", "rates"))
    if rate is not None:
        recipe = {"train": {"steps": 4, "learning_rate": rate}, "rates": list(rates or ())}
        changed = fields.get("changed", {})
        fields["settings"] = Settings(recipe=recipe, changed=changed)
    info = TaskInfo(
        name=task,
        version=fields.pop("version", card.version),
        profile=profile,
        pattern=card.pattern,
        domain=card.domain,
        metric=card.metric,
        higher_is_better=card.higher_is_better,
    )
    first = fields.pop("first", 0)
    named = sorted(fields.get("options", {}).items()), sorted(fields.get("changed", {}).items())
    source = fields.get("source", "")
    named += (rate,) if rate is not None else ()
    records = [
        make_record(
            key_of(variant, task, info.version, profile, seed, *named, source),
            variant=variant,
            seed=seed,
            value=value,
            metric=card.metric,
            higher_is_better=card.higher_is_better,
            **fields,
        ).model_copy(update={"task": info})
        for seed, value in enumerate(values, first)
    ]
    return [_validated(record, valid) for record in records]


def _validated(record: Record, value: float | None) -> Record:
    """The record with a result on validation, which is that on test unless it is given."""
    metric = record.task.metric
    if metric not in record.metrics.test:
        return record
    estimate = record.metrics.test[metric]
    if value is not None:
        estimate = estimate.model_copy(update={"value": value})
    metrics = record.metrics.model_copy(update={"valid": {metric: estimate}})
    return record.model_copy(update={"metrics": metrics})


def made_entry(variant: str, **by_task: Sequence[float]) -> list[Record]:
    """Records of one variant on several tasks."""
    return [
        record
        for task, values in by_task.items()
        for record in made(variant, task.replace("_", "-"), values)
    ]


def made_board(
    entries: Mapping[str, float] | None = None,
    seeds: int = 3,
    tasks: Sequence[str] = COUNTING,
) -> list[Record]:
    """Every one of some tasks for softmax, the controls and some entries.

    entries gives each entry's place between the controls (0) and softmax (1) on average; tasks
    and seeds scatter around it, by a generator keyed with their names.
    """
    quality = {"softmax": 1.0, "sdpa": 1.0, "none": 0.0, "mean": 0.1, **(entries or {})}
    records = []
    for variant, place in quality.items():
        for task in tasks:
            card = REGISTERED[task]
            if card.pattern not in VARIANTS[variant].patterns:
                continue
            draw = generator("made", variant, task)
            scatter = 0.0 if VARIANTS[variant].role != "entry" else 0.1 * _normal(draw)
            centre = 0.2 + 0.7 * (place + scatter)
            values = [centre + 0.012 * _normal(draw) for _ in range(seeds)]
            records += [_with_course(one) for one in made(variant, task, values)]
    return records


def _normal(draw: Any) -> float:
    import torch

    return float(torch.randn((), generator=draw))


def _with_course(record: Record) -> Record:
    """Add a falling curve, costs and parameters."""
    end = record.metrics.test[record.task.metric].value
    curve = tuple(CurvePoint(step=n * 20, loss=3 / (1 + n * max(end, 0.05))) for n in range(1, 40))
    seconds = 20 + 10 * (len(record.variant.name) % 5)
    cost = record.cost.model_copy(update={"seconds": float(seconds), "peak_bytes": 3 << 28})
    cost = cost.model_copy(update={"backbone_parameters": 100_000})
    variant = record.variant.model_copy(update={"parameters": 33_000})
    return record.model_copy(update={"curve": curve, "cost": cost, "variant": variant})


def shuffled(records: Iterable[Record], seed: int) -> list[Record]:
    import random

    records = list(records)
    random.Random(seed).shuffle(records)
    return records


def board_of(records: Iterable[Record], **options: Any) -> Board:
    """The board of profile quick."""
    return make_board(records_table(records), "quick", TASKS, VARIANTS, **options)


def ends(
    task: str, softmax: Sequence[float] = (0.9,) * 3, none: Sequence[float] = (0.5,) * 3
) -> list[Record]:
    """Records of softmax and of no attention on a task."""
    return [*made("softmax", task, softmax), *made("none", task, none)]
