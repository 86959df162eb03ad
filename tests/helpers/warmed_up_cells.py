"""Run cells from a fork server that has warmed up, or not; a process keeps its one server.

    python warmed_up_cells.py yes|no

Prints what each cell gave, as JSON by its title.
"""

import json
import sys
from pathlib import Path

from cli_support import cells_of

from cab.registry import discover_tasks
from cab.running.fork_server import start_fork_server
from cab.running.jobs import Ended, Jobs
from cab.running.processes import Processes

NAMES, TASKS = ["softmax", "linear", "performer"], ["mqar", "induction"]
"""The reference, one with a kernel of its own, one that draws random numbers; and two
tasks."""


def main() -> None:
    """Run them one after the other."""
    context = start_fork_server(discover_tasks() if sys.argv[1] == "yes" else None)
    places = Processes(1, context)
    jobs = Jobs(Path("/nowhere"), "cpu")
    said = {}
    for cell in cells_of(NAMES, tasks=TASKS, seeds=2):
        places.start(jobs.of(cell))
        ended = [event for event in _until_the_end(places) if isinstance(event, Ended)]
        (outcome,) = (one.outcome for one in ended)
        said[cell.title] = [
            outcome.status,
            outcome.metrics.model_dump(mode="json"),
            [point.model_dump(mode="json") for point in outcome.curve],
            outcome.data_fingerprint,
            outcome.cost["flops"],
            outcome.environment.model_dump(mode="json") if outcome.environment else None,
        ]
    print(json.dumps(said))


def _until_the_end(places: Processes) -> list[object]:
    events: list[object] = []
    while not any(isinstance(event, Ended) for event in events):
        events += places.wait(1.0)
    return events


if __name__ == "__main__":  # a cell's process reads this file, too
    main()
