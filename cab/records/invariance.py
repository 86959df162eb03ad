"""Published evidence of invariance: results/invariance.json, a variant a line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from cab.errors import CabError
from cab.records.fields import Line, Name, NonNegative, first_fault
from cab.records.files import parse_json, read_text, write_file
from cab.records.parts import Part

FILE = "invariance.json"
LARGEST_FILE = 5_000_000
MOST_VARIANTS = 10_000


class Invariance(Part):
    """What a variant's outputs depend on besides their inputs, in one pattern, in float32.

    Each is the largest difference relative to the largest output; 0 says that all bits are equal.
    batch: a row alone and in batches of other sizes. decoding: the same of steps. prefill: a
    prompt that is read in parts and continued step by step, and the whole sequence at once. The
    last two are None of a variant that does not decode in this pattern.
    """

    batch: NonNegative
    decoding: NonNegative | None = None
    prefill: NonNegative | None = None


class MeasuredInvariance(Part):
    """A variant's invariance by pattern, and the source, PyTorch and processor that it is of."""

    source: Name
    torch: Line
    processor: Line
    patterns: Annotated[Mapping[Name, Invariance], Field(max_length=10)]


Found = Mapping[str, MeasuredInvariance]
_FILE: TypeAdapter[dict[str, MeasuredInvariance]] = TypeAdapter(
    Annotated[dict[Name, MeasuredInvariance], Field(max_length=MOST_VARIANTS)]
)


def words(difference: float | None) -> str:
    """Say how large a difference is; a dash where nothing was measured."""
    if difference is None:
        return "-"
    return "bitwise equal" if difference == 0 else f"differs by {difference:.1e}"


def read_invariance(path: Path) -> dict[str, MeasuredInvariance]:
    """Read what was measured of each variant; nothing if there is no file.

    Raises:
        CabError: the file cannot be read, or holds something else.
    """
    try:
        return _FILE.validate_python(parse_json(read_text(path, LARGEST_FILE)))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        fault = first_fault(error, "the file")
        raise CabError(
            f"{path} is not a file of `cab check --invariance --write`: {fault}. Delete "
            f"it and measure again."
        ) from None
    except ValueError as error:
        raise CabError(f"{path} is not JSON: {error}. Delete it and measure again.") from None


def write_invariance(path: Path, found: Found) -> None:
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
    found: Found, installed: Mapping[str, str]
) -> tuple[dict[str, MeasuredInvariance], list[str]]:
    """Part what is of the installed sources from the names of variants that changed since.

    Variants that are not installed are in neither.
    """
    known = {name: one for name, one in found.items() if name in installed}
    kept = {name: one for name, one in known.items() if one.source == installed[name]}
    return kept, sorted(known.keys() - kept.keys())
