"""The gate of `cab run`: a variant is checked against the laws before it is trained.

A passed check is kept as a small file in the user's cache. The file is named by a hash of all that
the verdict depends on: the variant's source, card and settings, the pattern, the laws' own source,
PyTorch and the device. Each check runs in its own process, as cells do, because a variant may
hang, crash or use up the memory.
"""

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from cab.records.files import whole
from cab.records.sources import laws_hash
from cab.registry import discover_variants
from cab.running.awake import TICK, AwakeClock
from cab.running.cells import Cell
from cab.running.fork_server import end
from cab.running.worker import follow_parent, limit_memory
from cab.taxonomy import Pattern

TIME_LIMIT = 600.0
"""Seconds for one variant in one pattern."""
MEMORY_LIMIT = 8.0
"""GiB."""


@dataclass(frozen=True)
class LawCheck:
    """A variant with its settings in one pattern, to be checked against the laws."""

    variant: str
    pattern: Pattern
    options: Mapping[str, Any]
    source_hash: str
    card: str
    device: str
    include: tuple[Path, ...]

    @property
    def file(self) -> Path:
        """The file that exists once the check has passed."""
        content = {
            "variant": self.variant,
            "card": self.card,
            "source": self.source_hash,
            "options": {key: str(value) for key, value in self.options.items()},
            "pattern": self.pattern,
            "device": self.device,
            "torch": _torch_version(),
            "laws": _laws(),
        }
        text = json.dumps(content, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        return cache_directory() / "law-checks" / f"{name}.json"


def law_checks(cells: Iterable[Cell], device: str) -> list[LawCheck]:
    """The checks that some cells need before they run: each variant in each pattern, once."""
    found: dict[Path, LawCheck] = {}
    for cell in cells:
        law_check = LawCheck(
            cell.variant.name,
            cell.task.pattern,
            cell.options,
            cell.source_hash,
            repr(cell.variant),
            device,
            cell.include,
        )
        found.setdefault(law_check.file, law_check)
    return list(found.values())


def cache_directory() -> Path:
    """Where passed checks are kept: CAB_CACHE, else the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CAB_CACHE") or Path(base, "cab"))


def check_all(
    law_checks: Sequence[LawCheck], context: ForkServerContext, workers: int = 1
) -> Iterator[tuple[LawCheck, list[str]]]:
    """Run checks, at most `workers` at once; yield each with its problems as soon as it ends.

    The problems are sentences, one for each gating law that is broken. A check without problems
    has passed and is kept.
    """
    waiting = deque(law_checks)
    running: dict[Connection, tuple[LawCheck, ForkServerProcess, float]] = {}
    clock = AwakeClock()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                law_check = waiting.popleft()
                if law_check.file.is_file():
                    yield law_check, []
                    continue
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_hold, args=(law_check, there))
                process.start()
                there.close()
                running[here] = law_check, process, clock.now() + TIME_LIMIT
            if not running:
                continue
            first = min(deadline for _, _, deadline in running.values()) - clock.now()
            ready = connection.wait(list(running), max(0.0, min(first, TICK)))
            now = clock.now()
            late = [one for one in running if running[one][2] <= now]
            for here in {one for one in ready if isinstance(one, Connection)} | set(late):
                law_check, process, _ = running.pop(here)
                problems = _said(here, process) if here in ready else [_TOO_LONG]
                _end(here, process)
                if not problems:
                    _keep(law_check)
                yield law_check, problems
    finally:
        for here, (_, process, _) in running.items():
            _end(here, process)


_TOO_LONG = f"The law checks did not finish within {TIME_LIMIT:g} s."


def _said(here: Connection, process: ForkServerProcess) -> list[str]:
    try:
        problems: list[str] = here.recv()
    except EOFError:
        process.join()
        return [f"The process that checked the laws ended with status {process.exitcode}."]
    return problems


def _end(here: Connection, process: ForkServerProcess) -> None:
    end(process)
    here.close()


def _keep(law_check: LawCheck) -> None:
    # If the cache cannot be written, the next run only has to check again.
    with contextlib.suppress(OSError):
        law_check.file.parent.mkdir(parents=True, exist_ok=True)
        with whole(law_check.file) as beside:
            beside.write_text(json.dumps({"variant": law_check.variant}), encoding="utf-8")


def _hold(law_check: LawCheck, there: Connection) -> None:
    """Check the gating laws; runs in its own process."""
    follow_parent()

    from cab.conformance.check import LAWS, check, subjects

    if law_check.device == "cpu":
        limit_memory(MEMORY_LIMIT)
    variants = discover_variants(law_check.include, tolerant=True)
    asked = subjects(
        variants,
        law_check.variant,
        [law_check.pattern],
        options=law_check.options,
        device=law_check.device,
    )
    verdicts = check(asked, [law for law in LAWS if law.gates])
    there.send([f"{v.law}: {v.findings[0]}." for v in verdicts if not v.holds])


@lru_cache(maxsize=1)
def _laws() -> str:
    """The hash of the laws' own code, so that a changed law is checked again."""
    return laws_hash()


def _torch_version() -> str:
    import torch

    return str(torch.__version__)
