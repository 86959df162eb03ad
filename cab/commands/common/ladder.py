"""A table of results at each level of a task, for `cab run` and `cab show`."""

from collections.abc import Sequence
from typing import Any

from cab.commands.common import output


def print_levels(lines: Sequence[dict[str, Any]]) -> None:
    """Print, for each task with levels, what each entry reached at each of them.

    Args:
        lines: those of `cab.commands.common.result_table.Table`, one per task and entry.
    """
    by_task: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if line["levels"]:
            by_task.setdefault(line["task"], []).append(line)
    for task, own in by_task.items():
        names = list(own[0]["levels"])
        rows = [
            (line["entry"], *(f"{line['levels'][name]:z.2f}" for name in names))
            for line in own
            if list(line["levels"]) == names
        ]
        arrow = "↑" if own[0]["higher_is_better"] else "↓"
        title = f"{task}, {own[0]['metric']} {arrow} at each level"
        output.print_table(title, ("entry", *(name.replace(", ", "\n") for name in names)), rows)
