"""Certificates as they are published: results/certificates/<profile>/<task>.json."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from cab.errors import CabError
from cab.records.fields import Count, Finite, Line, Name, Version, first_fault
from cab.records.files import parse_json, read_text
from cab.records.parts import MOST_LEVELS, Part
from cab.records.store import Record

LARGEST_FILE = 1_000_000

AtLevels = Annotated[tuple[Finite, ...], Field(max_length=MOST_LEVELS)]
"""A value at each level, from the easiest."""


class RatesOf(Part):
    """The learning rate of an entry, and what each of the task's rates gave on validation."""

    chosen: Finite
    valid: Annotated[Mapping[Line, Finite], Field(max_length=100)]


class Origin(Part):
    """Where the records behind a certificate come from: code, machines and days.

    revisions are those of CAB's repository; local_changes says whether any record was made with
    changes that are in no commit, or with a revision that is not known. first and last are the
    days, in UTC, on which the first and the last record ended.
    """

    revisions: Annotated[tuple[Line, ...], Field(max_length=1_000)]
    local_changes: bool
    processors: Annotated[tuple[Line, ...], Field(max_length=100)]
    torch: Annotated[tuple[Line, ...], Field(max_length=100)]
    first: Line
    last: Line

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


class PublishedCertificate(Part):
    """What `cab certify` wrote of a task; see `cab.analysis.certificates.CertificateFile`.

    Fields with defaults are missing in certificates from before tasks had levels; those have one
    value for each shortcut.
    """

    task: Name
    version: Version
    profile: Name
    metric: Name
    higher_is_better: bool
    reference: Name
    attention: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    seeds: Count
    levels: Annotated[tuple[Line, ...], Field(max_length=MOST_LEVELS)] = ()
    values: Mapping[Name, Annotated[tuple[Finite, ...], Field(max_length=1_000)]]
    by_level: Mapping[Name, AtLevels] = {}
    rates: Mapping[Name, RatesOf] = {}
    shortcuts: Mapping[Name, AtLevels | Finite]
    floors: AtLevels = ()
    floor_by: Annotated[tuple[Line, ...], Field(max_length=MOST_LEVELS)] = ()
    best: Line = ""
    best_control: Line
    margin: Finite
    interval: Finite | None
    asked: Finite
    holds: bool
    origin: Origin | None = None


def read_certificate(path: Path) -> Mapping[str, Any]:
    """Read a published certificate.

    Raises:
        CabError: the file is not one.
    """
    try:
        return PublishedCertificate.model_validate(
            parse_json(read_text(path, LARGEST_FILE))
        ).model_dump()
    except ValidationError as error:
        raise CabError(f"{path} is not a certificate: {first_fault(error, 'the file')}.") from None
    except (OSError, ValueError) as error:
        raise CabError(f"{path} is not a certificate: {error}.") from None
