"""The gate of `cab run`: a variant is proved before it is scored, and the proof is kept.

A proof is a small file in the user's cache, named by all that it rests on: the variant's source,
card and settings, the pattern, the laws' own source, PyTorch and the device. The laws are tried
in a process of their own, as cells are: a variant may hang, crash or eat the memory.
"""

import contextlib
import hashlib
import json
import os
import time
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
from cab.running.cells import Cell
from cab.running.fork_server import end
from cab.running.worker import follow_parent, limit_memory
from cab.taxonomy import Pattern

TIME_LIMIT = 600.0
"""Seconds for one variant in one pattern."""
MEMORY_LIMIT = 8.0
"""GiB."""


@dataclass(frozen=True)
class Claim:
    """A variant with its settings in one pattern, that is to be proved."""

    variant: str
    pattern: Pattern
    options: Mapping[str, Any]
    source_hash: str
    card: str
    device: str
    include: tuple[Path, ...]

    @property
    def proof(self) -> Path:
        """The file that stands for the proof."""
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
        return cache_directory() / "proofs" / f"{name}.json"


def claims(cells: Iterable[Cell], device: str) -> list[Claim]:
    """What must be proved before some cells run: each variant in each pattern, once."""
    found: dict[Path, Claim] = {}
    for cell in cells:
        claim = Claim(
            cell.variant.name,
            cell.task.pattern,
            cell.options,
            cell.source_hash,
            repr(cell.variant),
            device,
            cell.include,
        )
        found.setdefault(claim.proof, claim)
    return list(found.values())


def cache_directory() -> Path:
    """Where proofs are kept: CAB_CACHE, else the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CAB_CACHE") or Path(base, "cab"))


def prove_all(
    claims: Sequence[Claim], context: ForkServerContext, workers: int = 1
) -> Iterator[tuple[Claim, list[str]]]:
    """Prove claims, so many at once; yield each as soon as it is known.

    Beside it stands what the gating laws find wrong, as sentences; none is a proof, which is kept.
    """
    waiting = deque(claims)
    running: dict[Connection, tuple[Claim, ForkServerProcess, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                claim = waiting.popleft()
                if claim.proof.is_file():
                    yield claim, []
                    continue
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_hold, args=(claim, there))
                process.start()
                there.close()
                running[here] = claim, process, time.monotonic() + TIME_LIMIT
            if not running:
                continue
            first = min(deadline for _, _, deadline in running.values()) - time.monotonic()
            ready = connection.wait(list(running), max(0.0, first))
            late = [one for one in running if running[one][2] <= time.monotonic()]
            for here in {one for one in ready if isinstance(one, Connection)} | set(late):
                claim, process, _ = running.pop(here)
                problems = _said(here, process) if here in ready else [_TOO_LONG]
                _end(here, process)
                if not problems:
                    _keep(claim)
                yield claim, problems
    finally:
        for here, (_, process, _) in running.items():
            _end(here, process)


_TOO_LONG = f"The laws had not ended after {TIME_LIMIT:g} s."


def _said(here: Connection, process: ForkServerProcess) -> list[str]:
    try:
        problems: list[str] = here.recv()
    except EOFError:
        process.join()
        return [f"The process that tried the laws ended with status {process.exitcode}."]
    return problems


def _end(here: Connection, process: ForkServerProcess) -> None:
    end(process)
    here.close()


def _keep(claim: Claim) -> None:
    # A cache that cannot be written costs the next run some seconds, no more.
    with contextlib.suppress(OSError):
        claim.proof.parent.mkdir(parents=True, exist_ok=True)
        with whole(claim.proof) as beside:
            beside.write_text(json.dumps({"variant": claim.variant}), encoding="utf-8")


def _hold(claim: Claim, there: Connection) -> None:
    """Try the gating laws; runs in its own process."""
    follow_parent()

    from cab.conformance.check import LAWS, check, subjects

    if claim.device == "cpu":
        limit_memory(MEMORY_LIMIT)
    variants = discover_variants(claim.include, tolerant=True)
    asked = subjects(
        variants, claim.variant, [claim.pattern], options=claim.options, device=claim.device
    )
    verdicts = check(asked, [law for law in LAWS if law.gates])
    there.send([f"{v.law}: {v.findings[0]}." for v in verdicts if not v.holds])


@lru_cache(maxsize=1)
def _laws() -> str:
    """The hash of the laws' own code, so that a stricter law asks again."""
    return laws_hash()


def _torch_version() -> str:
    import torch

    return str(torch.__version__)
