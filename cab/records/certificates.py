"""Certificates as they are published: results/certificates/<profile>/<task>.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from cab.errors import CabError
from cab.records.fields import Count, Finite, Line, Name, Version, first_fault
from cab.records.files import parse_json, read_text
from cab.records.parts import Part

LARGEST_FILE = 1_000_000


class PublishedCertificate(Part):
    """What `cab certify` wrote of a task; see `cab.analysis.certificates.CertificateFile`."""

    task: Name
    version: Version
    profile: Name
    metric: Name
    higher_is_better: bool
    reference: Name
    seeds: Count
    values: Mapping[Name, Annotated[tuple[Finite, ...], Field(max_length=1_000)]]
    shortcuts: Mapping[Name, Finite]
    best_control: Line
    margin: Finite
    interval: Finite | None
    asked: Finite
    holds: bool


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
