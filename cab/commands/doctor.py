"""`cab doctor`: is this machine ready?"""

import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from cab.commands.common import output
from cab.commands.common.options import DEFAULT_STORE, DataDir, Json, Store
from cab.data import DATA_SETS, data_directory, inspect
from cab.errors import CabError, counted
from cab.registry import discover_tasks, discover_variants
from cab.running.environment import cpu_model, installed_version, usable_cores

REQUIRED = ("torch", "numpy", "pydantic", "accelerate", "jaxtyping", "scikit-learn", "filelock")
WANTED = ("triton", "mlflow", "datasets", "soundfile", "pandas", "lm-eval")
WIDTH = 80
"""Columns of a terminal that the report fits."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at; only a `problem` keeps CAB from running."""

    state: Literal["ok", "note", "problem"]
    what: str
    detail: str


def doctor(store: Store = DEFAULT_STORE, data_dir: DataDir = None, json: Json = False) -> None:
    """Check packages, device, data and store. Exit 1 if CAB cannot run on this machine."""
    findings = [*_packages(), *_device(), *_registry(), *_data(data_dir), _store(store)]
    if json:
        output.print_json(findings)
    else:
        _print(findings)
    if any(one.state == "problem" for one in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    """Three columns, the last folded so that no line is longer than WIDTH."""
    first = 2 + max(len(one.state) for one in findings)
    second = 2 + max(len(one.what) for one in findings)
    for one in findings:
        start = f"{one.state:{first}}{one.what:{second}}"
        for line in textwrap.wrap(one.detail, WIDTH - first - second) or [""]:
            output.out.print((start + line).rstrip(), markup=False, soft_wrap=True)
            start = " " * len(start)


def _packages() -> Iterator[Finding]:
    for name in (*REQUIRED, *WANTED):
        version = installed_version(name)
        if version is not None:
            yield Finding("ok", name, version)
        elif name in REQUIRED:
            yield Finding("problem", name, f"not installed; run `pip install {name}`")
        else:
            yield Finding("note", name, "not installed (optional)")


def _device() -> Iterator[Finding]:
    yield Finding("ok", "processor", f"{cpu_model()}, {counted(usable_cores(), 'usable core')}")
    try:
        import torch
    except ImportError as error:
        yield Finding("problem", "device", f"torch cannot be imported: {error}")
        return
    if torch.cuda.is_available():
        yield Finding("ok", "device", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    else:
        yield Finding(
            "ok", "device", f"cpu, {counted(torch.get_num_threads(), 'thread')}; no CUDA device"
        )


def _registry() -> Iterator[Finding]:
    try:
        variants, tasks = discover_variants(), discover_tasks()
    except CabError as error:
        yield Finding("problem", "registry", str(error))
        return
    for kind, names in (("variants", variants.names()), ("tasks", tasks.names())):
        yield Finding("ok", kind, f"{len(names)}; `cab list {kind}` lists them")
    for problem in (*variants.problems, *tasks.problems):
        yield Finding("note", "plug-in", problem)


def _data(data_dir: Path | None) -> Iterator[Finding]:
    directory = data_directory(data_dir)
    for data_set in DATA_SETS.values():
        state, sentence = inspect(data_set, directory)
        yield Finding("ok" if state == "verified" else "note", data_set.name, sentence)


def _store(store: Path) -> Finding:
    folder = store
    while not folder.exists() and folder != folder.parent:
        folder = folder.absolute().parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("problem", "store", f"{store} cannot be written: {error}")
    return Finding("ok", "store", f"{store.resolve()} can be written")
