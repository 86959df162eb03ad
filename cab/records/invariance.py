"""Published evidence of invariance: results/invariance.json, a variant a line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from cab.records.by_variant import MOST_VARIANTS, OfSource, read_by_variant
from cab.records.fields import Line, Name, NonNegative
from cab.records.parts import Part

FILE = "invariance.json"
COMMAND = "cab check --invariance --write"


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


class MeasuredInvariance(OfSource):
    """A variant's invariance by pattern, and the source, PyTorch and processor that it is of."""

    torch: Line
    processor: Line
    patterns: Annotated[Mapping[Name, Invariance], Field(max_length=10)]


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
    return read_by_variant(path, _FILE, COMMAND)
