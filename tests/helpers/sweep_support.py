"""A task of another package whose cells do next to nothing, and sweeps over it."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_support import Said, cab

from cab.records.store import Record, RecordStore

TASK = '''"""A number from a number."""

from dataclasses import dataclass

import torch
from torch import nn

from cab.backbones.slots import Width
from cab.registry import register_task
from cab.task import Recipe, Task, Training
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class Model:
    width: Width


class Net(nn.Module):
    def __init__(self, width, slots):
        super().__init__()
        self.slot = slots.fill("decoder_self", Pattern.CS, width, 4)
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.slot(x) + self.bias


@register_task(name="trivial", domain="retrieval", pattern="cs", summary="for a test", version=1,
               backbone="decoder", metric="error", higher_is_better=False, length="4 numbers")
class Trivial(Task):
    recipes = {
        "smoke": Recipe((), Model(Width(dim=4, heads=1, layers=1)), Training(3, 2, 0.01), 2, 2)
    }

    def draw(self, split, count, generator):
        return {"inputs": torch.randn(count, 4, 4, generator=generator)}

    def build(self, slots):
        return Net(self.recipe.model.width, slots)

    def loss(self, model, batch):
        return self.evaluate(model, batch)["error"].mean()

    def evaluate(self, model, batch):
        return {"error": (model(batch["inputs"]) - 1).square().mean((1, 2))}
'''


EVERY_EXECUTOR = pytest.mark.parametrize(
    "where",
    [
        ("--workers", 2),
        pytest.param(("--executor", "ray", "--workers", 2), marks=pytest.mark.slow),
        pytest.param(
            ("--executor", "slurm", "--slurm", "cluster=local", "--jobs", 2),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["local", "ray", "slurm"],
)
"""Give a test, as `where`, the options of a sweep on each executor."""


def sweep_on(where: Sequence[Any], *arguments: object, cwd: Path) -> Said:
    """Run a sweep on an executor; the test is skipped if what that needs is not installed."""
    for name, package in (("ray", "ray"), ("slurm", "submitit")):
        if name in where:
            pytest.importorskip(package)
    return cab("sweep", *arguments, *where, cwd=cwd, timeout=300)


def plug_in(folder: Path) -> dict[str, str]:
    """Install the task in a folder; return the environment in which it is found."""
    (folder / "trivial_task.py").write_text(TASK)
    package = folder / "trivial-1.0.dist-info"
    package.mkdir(exist_ok=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: trivial\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[cab.tasks]\ntrivial = trivial_task\n")
    return {"PYTHONPATH": str(folder)}


@contextlib.contextmanager
def plugged(folder: Path) -> Iterator[Path]:
    """Have the task in this process, too."""
    plug_in(folder)
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("trivial_task", None)


def command(store: Path, *more: object, seeds: int = 3, variant: str = "mean") -> list[object]:
    """A sweep over trivial cells with two workers."""
    what = ("--variant", variant, "--task", "trivial", "--profile", "smoke", "--seeds", seeds)
    how = ("--unchecked", "--tracking", "none", "--workers", 2, "--device", "cpu", "--json")
    return ["sweep", *what, *how, "--store", store, *more]


def results(records: Iterable[Record]) -> dict[str, tuple[str, Any]]:
    """What records say of their cells, without where and when they ran, by key."""
    found = {}
    for record in records:
        assert record.key not in found
        said = json.loads(record.to_json())
        found[record.key] = (record.status, [said["metrics"], said["curve"], said["settings"]])
    return found


def stored(store: Path) -> dict[str, tuple[str, Any]]:
    """The results of a store in which every file is a record."""
    records, problems = RecordStore(store).load()
    assert problems == []
    return results(records)
