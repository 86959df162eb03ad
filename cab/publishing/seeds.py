"""What is wrong with the records of one variant taken together: their rates, seeds and tasks."""

from collections.abc import Iterator, Sequence

from cab.profiles import SEEDS_FOR_A_RANK
from cab.publishing.measured import near_copies
from cab.publishing.problems import Finding
from cab.records.rates import (
    SEARCH_SEED,
    at_best_rate,
    at_chosen_rate,
    chosen_rate,
    rate_of,
    rates_of,
    to_try,
)
from cab.records.store import Record
from cab.registry import Registry
from cab.running.fitting import refusal_of
from cab.scores.summary import entry_label
from cab.taxonomy import TaskCard, VariantCard


def seed_problems(records: Sequence[Record]) -> Iterator[str]:
    """Yield entries whose seeds at their rate are not 0 to n - 1: seeds are not to be chosen.

    Those that failed count like the others.
    """
    groups: dict[tuple[str, str, int, str, str], list[Record]] = {}
    for record in records:
        code = record.task.version, record.task.source_hash or "", record.variant.source_hash
        groups.setdefault((entry_label(record), record.task.name, *code), []).append(record)
    for (entry, task, *_), own in sorted(groups.items()):
        rate = chosen_rate(own)
        if rate is None and len(rates_of(own[0])) > 1:
            rate = rate_of(own[0])
        seeds = sorted(one.seed for one in own if rate is None or rate_of(one) == rate)
        if seeds != list(range(len(seeds))):
            yield (
                f"the seeds of {entry} on {task} are {', '.join(map(str, seeds))}, not 0 to "
                f"{len(seeds) - 1}: publish them all, with those that failed"
            )


def file_findings(
    records: Sequence[Record], card: VariantCard | None, tasks: Registry[TaskCard]
) -> Iterator[Finding]:
    """Yield what is wrong with the records of one variant and profile taken together."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((entry_label(record), record.task.name), []).append(record)
    for (entry, task), own in groups.items():
        yield from _search(entry, task, own)
        done = [record for record in own if record.status == "ok"]
        yield from _copies(entry, task, done)
        kinds: dict[str, set[str | None]] = {}
        for one in done:
            kinds.setdefault(one.environment.cpu, set()).add(one.task.data_fingerprint)
        if any(len(found) > 1 for found in kinds.values()):
            yield "error", f"the seeds of {entry} on {task} are of different data on one processor"
        seeds = [one for one in at_best_rate(own) if one.status == "ok"]
        if card is not None and card.role == "entry" and 0 < len(seeds) < SEEDS_FOR_A_RANK:
            count = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
            yield (
                "look",
                f"{entry} has {count} on {task} that ended well; a rank needs {SEEDS_FOR_A_RANK}",
            )
    if card is not None:
        yield from _left_out(records, card, tasks)


def _search(entry: str, task: str, records: Sequence[Record]) -> Iterator[Finding]:
    """Yield what is missing of the choice of the learning rate, and seeds beside it."""
    if missing := to_try(records):
        yield (
            "look",
            f"{entry} has no result on {task} at the learning rates "
            f"{', '.join(f'{rate:g}' for rate in missing)}, so none is chosen yet",
        )
    beside = [one for one in at_chosen_rate(records)[1] if one.seed != SEARCH_SEED]
    if beside:
        rate = chosen_rate(records)
        yield (
            "error",
            f"{entry} has further seeds on {task} at {rate_of(beside[0]):g}, a learning rate that "
            f"validation does not choose: it chooses {rate:g}",
        )


def _copies(entry: str, task: str, records: Sequence[Record]) -> Iterator[Finding]:
    """Yield pairs of seeds at one rate that trained alike."""
    for rate in sorted({rate_of(one) for one in records}):
        for one, other in near_copies([each for each in records if rate_of(each) == rate]):
            yield (
                "error",
                f"seeds {one.seed} and {other.seed} of {entry} on {task} trained alike: their "
                f"curves differ less than those of two seeds do",
            )


def _left_out(
    records: Sequence[Record], card: VariantCard, tasks: Registry[TaskCard]
) -> Iterator[Finding]:
    """Yield each pattern of which an entry has results and lacks a scored task."""
    for entry in sorted({entry_label(record) for record in records}):
        own = [record for record in records if entry_label(record) == entry]
        done = {record.task.name for record in own if record.status == "ok"}
        by_pattern: dict[str, list[str]] = {}
        for task in tasks.cards():
            scored = task.in_row(own[0].task.profile) and not refusal_of(card, task)
            if scored:
                by_pattern.setdefault(str(task.pattern), []).append(task.name)
        for pattern, names in by_pattern.items():
            if (missing := sorted(set(names) - done)) and done & set(names):
                yield (
                    "look",
                    f"{entry} has no result on {', '.join(missing)}, of the {len(names)} scored "
                    f"tasks of {pattern}",
                )
