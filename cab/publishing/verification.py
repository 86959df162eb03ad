"""Rerunning published cells, to see whether they give what was published."""

import hashlib
from collections.abc import Sequence

from numpy.random import PCG64, Generator

from cab.errors import CabError
from cab.records.results import Verification
from cab.records.store import Record
from cab.scores.summary import entry_label


def keyed_generator(*names: str) -> Generator:
    """A generator that depends on these names and on nothing else."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))


def sample(records: Sequence[Record], count: int | None, draw: str) -> list[Record]:
    """Choose records that ended well: all, or so many, each task once before any twice.

    Args:
        records: the records of one file, in any order.
        count: how many records to choose; all of them if None.
        draw: seeds the choice, together with the keys. An author who knew it while writing the
            records would know which of them are never rerun, so it is drawn afterwards.
    """
    done = sorted((one for one in records if one.status == "ok"), key=lambda one: one.key)
    if count is None or count >= len(done):
        return done
    order = keyed_generator("verify", draw, *(one.key for one in done)).permutation(len(done))
    mixed = [done[place] for place in order]
    turn: dict[str, int] = {}
    placed = []
    for place, record in enumerate(mixed):
        turn[record.task.name] = turn.get(record.task.name, 0) + 1
        placed.append((turn[record.task.name], place, record))
    return [record for _, _, record in sorted(placed, key=lambda one: one[:2])[:count]]


def verdict(record: Record, again: Record) -> Verification:
    """What a rerun of a published record gave.

    Raises:
        CabError: the rerun did not end well, or saw other examples on the same kind of processor,
            so there is nothing to compare.
    """
    title = f"{record.key} ({entry_label(record)} on {record.task.name}, seed {record.seed})"
    if again.status != "ok":
        raise CabError(f"{title} ended as {again.status} here: {again.message}")
    data = record.task.data_fingerprint, again.task.data_fingerprint
    if data[0] != data[1] and record.environment.cpu == again.environment.cpu:
        raise CabError(f"{title} is of other examples than those drawn here.")
    metric = record.task.metric
    return Verification(
        key=record.key,
        task=record.task.name,
        seed=record.seed,
        published=record.metrics.test[metric].value,
        value=again.metrics.test[metric].value,
        environment=again.environment,
        git_revision=again.provenance.git_revision,
    )
