"""Files of results with a line for each variant, such as results/invariance.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from cab.errors import CabError
from cab.records.fields import Name, first_fault
from cab.records.files import parse_json, read_text, write_file
from cab.records.parts import Part

LARGEST_FILE = 5_000_000
MOST_VARIANTS = 10_000


class OfSource(Part):
    """What was measured of a variant, and the hash of the source that it is of."""

    source: Name


Found = TypeVar("Found", bound=OfSource)


def read_by_variant(
    path: Path, adapter: TypeAdapter[dict[str, Found]], command: str
) -> dict[str, Found]:
    """Read what was measured of each variant; nothing if there is no file.

    Args:
        command: what writes such a file, for the message.

    Raises:
        CabError: the file cannot be read, or holds something else.
    """
    try:
        return adapter.validate_python(parse_json(read_text(path, LARGEST_FILE)))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        fault = first_fault(error, "the file")
        raise CabError(
            f"{path} is not a file of `{command}`: {fault}. Delete it and measure again."
        ) from None
    except ValueError as error:
        raise CabError(f"{path} is not JSON: {error}. Delete it and measure again.") from None


def write_by_variant(path: Path, found: Mapping[str, OfSource]) -> None:
    """Write what was measured, sorted by name, a line for each variant.

    Raises:
        CabError: the file cannot be written.
    """
    lines = [
        f"{json.dumps(name)}: {json.dumps(one.model_dump(mode='json'), sort_keys=True)}"
        for name, one in sorted(found.items())
    ]
    write_file(path, "{\n" + ",\n".join(lines) + "\n}\n", "What was measured")


def split_by_source(
    found: Mapping[str, Found], installed: Mapping[str, str]
) -> tuple[dict[str, Found], list[str]]:
    """Part what is of the installed sources from the names of variants that changed since.

    Variants that are not installed are in neither.
    """
    known = {name: one for name, one in found.items() if name in installed}
    kept = {name: one for name, one in known.items() if one.source == installed[name]}
    return kept, sorted(known.keys() - kept.keys())
