"""Where records come from: the commit, the state of its tree, and the machine."""

from collections.abc import Iterator, Sequence

from cab.publishing.problems import Severity
from cab.records.results import Verification
from cab.records.store import Record
from cab.taxonomy import Role

RULER: tuple[Role, ...] = ("reference", "no_attention", "control")
"""Roles of the variants that scores and certificates are made from: the ends of every scale."""


def tree_of(record: Record) -> str:
    """Say what keeps a record's code from being found again; nothing if a commit has it."""
    if record.provenance.git_revision is None:
        return "its commit is not recorded"
    if record.provenance.git_dirty is not False:
        return "its tree had changes that are in no commit"
    return ""


def machine_of(record: Record | Verification) -> str:
    """The kind of machine that a record or a rerun comes from."""
    where = record.environment
    return where.cpu if where.device == "cpu" else f"{where.device}, {where.accelerator}"


def tree_findings(records: Sequence[Record], role: Role | None) -> Iterator[tuple[Severity, str]]:
    """Yield, for each reason, which records come from code that no commit holds.

    It is an error for the variants that scores are made from, and to be looked at for others.
    """
    severity: Severity = "error" if role in RULER else "look"
    found: dict[str, list[str]] = {}
    for record in records:
        if reason := tree_of(record):
            found.setdefault(reason, []).append(record.key)
    for reason, keys in found.items():
        yield (
            severity,
            f"{reason}: {len(keys)} of {len(records)} records, {', '.join(keys[:3])}"
            + (" and others" if len(keys) > 3 else ""),
        )


def ruler_findings(
    records: Sequence[Record], verifications: Sequence[Verification], role: Role | None
) -> Iterator[tuple[Severity, str]]:
    """Yield what the records of a reference or control lack: one machine, and a rerun on another.

    Args:
        records: a variant's records of one profile.
        verifications: reruns of them.
        role: the variant's; only the roles of `RULER` are asked.
    """
    if role not in RULER or not records:
        return
    machines = sorted({machine_of(record) for record in records})
    if len(machines) > 1:
        yield (
            "error",
            f"its records come from more than one kind of machine: {', '.join(machines)}",
        )
    keys = {record.key for record in records}
    again = {machine_of(run) for run in verifications if run.key in keys}
    if not again - set(machines):
        yield "error", f"no record of it was rerun on a kind of machine other than {machines[0]}"
