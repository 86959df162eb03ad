"""MLflow as an index of the records: searchable, with curves; it can be lost and made again.

Each record becomes one run (experiment cab/<profile>/<task>) below a parent run per command.
Everything in a run comes from its record, so that `cab index` rebuilds the same database.

On a server that a team shares, every run carries its store's mark, and a store's index touches no
run without it: neither those of another store, whatever cells it holds, nor what is not CAB's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cab.errors import CabError
from cab.records.store import Record
from cab.records.text import one_line
from cab.tracking.connection import IndexFailed, Tracking, is_general, locked, reason_of
from cab.tracking.mirror import Mirror
from cab.tracking.runs import milliseconds

__all__ = ["IndexFailed", "Indexed", "Refused", "Tracking", "index", "refusals"]

_NAMED = 3
"""How many refused records a message names."""


@dataclass(frozen=True)
class Refused:
    """A record that MLflow did not take, and why."""

    key: str
    title: str
    reason: str


@dataclass(frozen=True)
class Indexed:
    """What a call of `index` changed."""

    added: int = 0
    replaced: int = 0
    removed: int = 0
    present: int = 0
    refused: tuple[Refused, ...] = ()


def index(
    records: Iterable[Record],
    tracking: Tracking,
    *,
    complete: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Indexed:
    """Make the index hold these records; one that it holds already, unchanged, is left alone.

    A record that MLflow refuses is skipped and returned with the reason.

    Args:
        complete: these are all the records there are; runs of others are then removed, and runs
            that a killed process left open are closed.
        advance: called after each record.

    Raises:
        IndexFailed: MLflow cannot be used.
        CabError: the store cannot be written, or another process has it for too long.
    """
    ordered = sorted(records, key=lambda one: (milliseconds(one.provenance.started), one.key))
    counts = {"added": 0, "replaced": 0, "removed": 0, "present": 0}
    refused: list[Refused] = []
    with locked(tracking):
        try:
            mirror = Mirror.of(tracking, complete)
            mirror.sync_parents(ordered)
            runs = mirror.find() if complete else {}
            for record in ordered:
                try:
                    if not complete:
                        runs = mirror.find(record.key)
                    counts[mirror.sync_run(record, runs.get(record.key))] += 1
                except Exception as error:
                    if is_general(error):
                        raise
                    mirror.check()
                    refused.append(_refusal(record, error))
                runs.pop(record.key, None)
                advance()
            if complete:
                mirror.remove(list(runs.values()))
                counts["removed"] = len(runs)
                mirror.close_open_runs()
        except CabError:
            raise
        except Exception as error:  # MLflow raises what its store or its network library raises
            reason = f"MLflow at {tracking.shown} cannot be used: {reason_of(error)}"
            taken = counts["added"] + counts["replaced"] + counts["present"]
            raise IndexFailed(reason, taken, len(ordered)) from error
    return Indexed(**counts, refused=tuple(refused))


def refusals(refused: Sequence[Refused], total: int) -> str:
    """Say in one sentence which of so many records MLflow refused, and why."""
    named = "; ".join(f"{one.key} ({one.title}): {one.reason}" for one in refused[:_NAMED])
    more = f"; and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return f"MLflow refused {len(refused)} of {total} records: {named}{more}."


def _refusal(record: Record, error: Exception) -> Refused:
    title = one_line(f"{record.variant.name} on {record.task.name}", 100)
    return Refused(record.key, title, reason_of(error))
