"""Names and texts in a form that MLflow and every database behind it accept.

A record's names are free text: a shortcut may be called "first digit's place". MLflow accepts few
characters in names, of limited length, and some databases refuse a NUL inside a value.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from cab.records.text import tidy

CUT = "... (cut; record.json has all of it)"


@dataclass(frozen=True)
class Limits:
    """MLflow's limits: lengths in characters, entries per request, bytes per request.

    The defaults are those of MLflow 3.17, for a version that keeps them elsewhere.
    """

    name: int = 250
    param: int = 6000
    tag: int = 8000
    dataset: int = 500
    digest: int = 36
    metrics_at_once: int = 1000
    params_at_once: int = 100
    request: int = 1_000_000

    @classmethod
    def of_mlflow(cls) -> "Limits":
        """The limits of the installed MLflow."""
        from mlflow.utils import validation

        names = {
            "name": "MAX_ENTITY_KEY_LENGTH",
            "param": "MAX_PARAM_VAL_LENGTH",
            "tag": "MAX_TAG_VAL_LENGTH",
            "dataset": "MAX_DATASET_NAME_SIZE",
            "digest": "MAX_DATASET_DIGEST_SIZE",
            "metrics_at_once": "MAX_METRICS_PER_BATCH",
            "params_at_once": "MAX_PARAMS_TAGS_PER_BATCH",
            "request": "MAX_BATCH_LOG_REQUEST_SIZE",
        }
        found = {field: getattr(validation, name, None) for field, name in names.items()}
        return cls(**{field: value for field, value in found.items() if value is not None})


def plain(text: str, limit: int = Limits.name) -> str:
    """Write a text in letters, digits, `_`, `.` and `-`; a long one ends with its hash.

    No slash is kept: MLflow reads names as paths. Different texts may become equal.
    """
    name = re.sub(r"[^\w.-]+", "_", text).rstrip("_").lstrip("_.")
    return name if 0 < len(name) <= limit else _with_hash(name, text, limit)


def lasting(text: str, limit: int = Limits.name) -> str:
    """Write a text as `plain` does, and with its hash if that changed it.

    Unlike in `distinct`, the result depends on this text alone, so that it can be searched for.
    """
    name = plain(text, limit)
    return name if name == text else _with_hash(name, text, limit)


def distinct(
    names: Iterable[tuple[Hashable, str]], limit: int = Limits.name
) -> dict[Hashable, str]:
    """Give each thing of one record a plain name of its own.

    Args:
        names: what is named, told apart by its first part, and the name wanted for it.

    Returns:
        The plain names. Where things would share one, only the thing whose wanted name was that
        already keeps it; the others get a suffix derived from what they are.
    """
    wanted = dict(names)
    sharing: dict[str, list[Hashable]] = defaultdict(list)
    for thing, text in wanted.items():
        sharing[plain(text, limit)].append(thing)
    given: dict[Hashable, str] = {}
    for name, things in sharing.items():
        keep = things if len(things) == 1 else [one for one in things if wanted[one] == name]
        if len(keep) == 1:
            given[keep[0]] = name
    taken = set(given.values())
    for name, things in sharing.items():
        for thing in things:
            if thing in given:
                continue
            source, digits = repr(thing), 4
            while (other := _with_hash(name, source, limit, digits)) in taken:
                source, digits = source + "'", 12  # the short hash is taken
            given[thing] = other
            taken.add(other)
    return given


def cut(text: str, limit: int) -> str:
    """Shorten a text to so many characters, with a mark, and make it `tidy`."""
    text = tidy(text)
    return text if len(text) <= limit else text[: max(0, limit - len(CUT))] + CUT[:limit]


def _with_hash(name: str, source: str, limit: int, digits: int = 8) -> str:
    suffix = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    kept = name[: limit - digits - 1]
    return f"{kept}-{suffix}" if kept else suffix
