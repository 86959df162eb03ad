"""Where the records behind a certificate come from: code, machines and dates."""

from collections.abc import Iterable
from dataclasses import dataclass

from cab.records.store import Record


@dataclass(frozen=True)
class Origin:
    """The origin of some records.

    revisions are those of CAB's repository; local_changes says whether any record was made with
    changes that are in no commit, or with a revision that is not known. first and last are the
    days, in UTC, on which the first and the last record ended.
    """

    revisions: tuple[str, ...]
    local_changes: bool
    processors: tuple[str, ...]
    torch: tuple[str, ...]
    first: str
    last: str

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Origin":
        """The origin of records, at least one."""
        own = list(records)
        made = [one.provenance for one in own]
        days = sorted(one.ended.date().isoformat() for one in made)
        return cls(
            revisions=tuple(sorted({one.git_revision for one in made if one.git_revision})),
            local_changes=any(one.git_dirty is not False for one in made),
            processors=tuple(sorted({one.environment.cpu for one in own})),
            torch=tuple(sorted({one.environment.torch for one in own})),
            first=days[0],
            last=days[-1],
        )
