"""Running the program, in a process of its own or in this one, and things for it to chew on."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from plug_ins import installed_source

from cab.commands.program import main
from cab.profiles import get_profile
from cab.records.store import (
    Cost,
    Environment,
    Estimate,
    Metrics,
    Provenance,
    Record,
    RecordStore,
    Settings,
    TaskInfo,
    VariantInfo,
)
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell, Request, plan
from cab.running.execution import Finished, Runner

DATA = os.environ.get("CAB_DATA")
MQAR = discover_tasks().card("mqar")
needs_data = pytest.mark.skipif(not DATA, reason="needs real data: set CAB_DATA")

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

_NO_CACHE = tempfile.TemporaryDirectory(prefix="cab-test-cache-")
_OURS = (
    "CAB_DATA",
    "CAB_INCLUDE",
    "CAB_STORE",
    "MLFLOW_TRACKING_URI",
    "FORCE_COLOR",
    "COLUMNS",
)


@dataclass(frozen=True)
class Said:
    """How a call of the program ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; anything beside it fails."""
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user without data, store or cache, with some changes."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    ours = {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "XDG_CACHE_HOME": _NO_CACHE.name,
        "HF_HOME": os.environ.get("HF_HOME") or _NO_CACHE.name + "/huggingface",
    }
    return kept | ours | changes


def start_cab(*arguments: object, cwd: Path, **changes: str) -> subprocess.Popen[str]:
    """Start the program as the head of a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cab", *map(str, arguments)],
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Said:
    """Wait for a started program and for all that it left running with its streams open."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return Said(process.returncode, out, err)


def cab(*arguments: object, cwd: Path, timeout: float = 120, **changes: str) -> Said:
    """Run the program in a process of its own."""
    return finish(start_cab(*arguments, cwd=cwd, **changes), timeout)


def cab_here(*arguments: object, **changes: str) -> Said:
    """Run the program in this process, which spares the imports; a defect raises here."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", ["cab", *map(str, arguments)]),
        mock.patch.dict(os.environ, environment(**changes), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.unraisablehook = hook
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Said(code or 0, out.getvalue(), err.getvalue())


HEAD = """import os, signal, sys, time
import torch
from cab.attention import MultiHeadAttention
from cab.errors import Unsupported
from cab.registry import register_variant

@register_variant(name="{name}", family="control", patterns="{patterns}", summary="for a test")
class {name_in_code}(MultiHeadAttention):
"""
HANGS = "open({marker!r}, 'w').write(str(os.getpid())); time.sleep(600)"


def write_variant(
    folder: Path,
    name: str,
    attend: str = "return q",
    *,
    construct: str = "super().__init__(config, **geometry)",
    top: str = "",
    patterns: str = "ns cs nc cc",
) -> Path:
    """Write a variant whose methods consist of the given statements; return its file."""
    path = folder / f"{name}.py"
    path.write_text(
        HEAD.format(name=name, name_in_code=name.replace("-", "_"), patterns=patterns)
        + f"    def __init__(self, config=None, **geometry):\n        {construct}\n"
        + f"    def attend(self, q, k, v, *, key_padding_mask=None):\n        {attend}\n"
        + top
    )
    return path


def cells_of(
    variants: Sequence[str], *, include: Sequence[Path] = (), **request: Any
) -> tuple[Cell, ...]:
    """The smoke cells of some variants, on mqar unless said otherwise."""
    asked = {"profile": get_profile("smoke"), "tasks": ("mqar",), **request}
    registry = discover_variants(tuple(include))
    wanted = Request(variants=variants, include=tuple(include), **asked)
    return plan(wanted, registry, discover_tasks(tuple(include))).cells


@dataclass
class Log:
    """A reporter that remembers."""

    started: list[str] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    def cell_started(self, cell: Cell) -> None:
        self.started.append(cell.key)

    def cell_progress(self, cell: Cell, done: int, total: int) -> None:
        assert 0 < done <= total

    def cell_waits(self, cell: Cell) -> None:
        self.waited.append(cell.key)

    def cell_finished(self, finished: Finished) -> None:
        self.finished.append(finished.cell.key)


def run_cells(store: Path, cells: Sequence[Cell], **options: Any) -> tuple[list[Finished], Log]:
    """Run cells on the CPU in processes of this process's fork server."""
    log = Log()
    runner = Runner(RecordStore(store), Path(DATA or "/nowhere"), "cpu", log, **options)
    with mock.patch.dict(os.environ, environment(), clear=True):
        return runner.run(cells), log


def make_record(
    key: str = "0" * 32,
    *,
    variant: str = "softmax",
    task: str = "mqar",
    seed: int = 0,
    status: str = "ok",
    value: float = 0.5,
    standard_error: float = 0.01,
    minutes: float = 0,
    source: str | None = None,
    options: Mapping[str, Any] = {},
    changed: Mapping[str, Any] = {},
    metric: str = "accuracy",
    higher_is_better: bool = True,
    **fields: Any,
) -> Record:
    """A record of a cell that never ran; `minutes` after noon it ended.

    source: the installed one by default, and a made-up one for a variant that is not installed.
    """
    source = source or installed_source(variant)
    estimate = Estimate(value=value, standard_error=standard_error, n=100)
    defaults: dict[str, Any] = {
        "key": key,
        "variant": VariantInfo(name=variant, source_hash=source, config=options, options=options),
        "task": TaskInfo(
            name=task,
            version=MQAR.version,
            profile="quick",
            pattern="cs",
            domain="retrieval",
            metric=metric,
            higher_is_better=higher_is_better,
        ),
        "seed": seed,
        "settings": Settings(recipe={"train": {"steps": 4}}, changed=changed),
        "status": status,
        "metrics": Metrics(test={metric: estimate}) if status == "ok" else Metrics(),
        "cost": Cost(total_seconds=60.0, steps=4),
        "environment": Environment(
            device="cpu",
            accelerator="none",
            cpu="some",
            cores=2,
            threads=1,
            platform="Linux x86_64",
            python="3.11.0",
            torch="2.13.0",
            triton=None,
            cab="0.1.0",
        ),
        "provenance": Provenance(
            invocation="made-up",
            command="cab run",
            git_revision=None,
            git_dirty=None,
            started=NOON + timedelta(minutes=minutes - 1),
            ended=NOON + timedelta(minutes=minutes),
        ),
    }
    return Record(**(defaults | fields))


@contextlib.contextmanager
def process_group(process: subprocess.Popen[str]) -> Iterator[int]:
    """Yield a started program's group, and end what is left of it."""
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def members(group: int) -> list[str]:
    """The command lines of the living processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            state, _, number = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Ask again and again until it holds; False when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
