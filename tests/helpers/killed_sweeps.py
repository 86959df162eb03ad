"""Sweeps that are killed at random moments, by a process that has imported all they need.

    python killed_sweeps.py FOLDER KILLS SEED

Each sweep is a fork of this process, and each cell a fork of the sweep: what takes seconds to
import is there already, so that hundreds fit into a minute. All else is as in `cab sweep`.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401  what optimisers import, as in the fork server
from cli_support import Log, cells_of, members
from sweep_support import stored

from cab.records.store import RecordStore
from cab.running.cells import Cell
from cab.running.execution import Runner
from cab.running.processes import Processes

SEEDS = 100
LONGEST = 0.5
"""Seconds after which a sweep is killed at the latest."""


PATIENCE = 900


def start(store: Path, cells: tuple[Cell, ...]) -> int:
    """Start a sweep as the head of a process group of its own; return its process."""
    process = os.fork()
    os.setpgid(process, process)  # by both, since either may be first
    if process:
        return process
    context: Any = get_context("fork")
    runner = Runner(RecordStore(store), Path("/nowhere"), "cpu", Log())
    runner.places = Processes(2, context, threads=1)
    runner.run(cells)
    os._exit(0)


def ended(process: int, seconds: float) -> bool:
    """Whether a sweep came to its end by itself within so many seconds."""
    end = time.monotonic() + seconds
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def kill(process: int, whom: str, chance: random.Random) -> None:
    """Kill a sweep with SIGKILL: its group, its parent alone, or first a cell, then the rest."""
    if whom == "cell":
        cells = [number for number in group_of(process) if number != process]
        if cells:
            with contextlib.suppress(ProcessLookupError):  # it may have ended by now
                os.kill(chance.choice(cells), signal.SIGKILL)
        time.sleep(chance.uniform(0, 0.1))
    if whom == "parent":
        os.kill(process, signal.SIGKILL)
    else:
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    end = time.monotonic() + 30
    while members(process):
        assert time.monotonic() < end, f"{members(process)} outlived their sweep"
        time.sleep(0.005)


def group_of(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, number = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(number) == group and state != "Z":
            found.append(int(folder.name))
    return found


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill sweeps until so many kills have hit one; print what became of every store."""
    chance = random.Random(seed)
    cells = cells_of(["mean"], tasks=("trivial",), seeds=SEEDS)
    assert ended(start(folder / "undisturbed", cells), PATIENCE)
    counts: Counter[str] = Counter()
    stores = 0
    while counts.total() < kills:
        store = folder / f"store-{stores}"
        stores += 1
        while not ended(process := start(store, cells), chance.uniform(0, LONGEST)):
            whom = chance.choice(("group", "parent", "cell"))
            kill(process, whom, chance)
            counts[whom] += 1
            stored(store)  # what is there is whole, and each cell there once
            if counts.total() >= kills:
                assert ended(start(store, cells), PATIENCE)
                break
    print(json.dumps({"kills": counts, "stores": stores}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
