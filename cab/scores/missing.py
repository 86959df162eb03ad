"""References without results: a task has no scores without results of softmax and none."""

from collections.abc import Mapping
from dataclasses import dataclass

from cab.profiles import DEFAULT_PROFILE, SEEDS_FOR_A_RANK

NAMED_TASKS = 8
"""Up to so many tasks are named one by one in a command."""


@dataclass(frozen=True)
class Missing:
    """References that have no result on some tasks, on which other entries do."""

    references: tuple[str, ...]
    tasks: tuple[str, ...]
    profile: str

    @property
    def sentence(self) -> str:
        """Which tasks have no score, and why."""
        verb = "has" if len(self.references) == 1 else "have"
        names = " and ".join(self.references)
        return f"There is no score on {', '.join(self.tasks)}: {names} {verb} no result there."

    def command(self, seeds: int = SEEDS_FOR_A_RANK) -> str:
        """The command that makes the results."""
        words = [f"--variant {name}" for name in self.references]
        if len(self.tasks) <= NAMED_TASKS:
            words += [f"--task {name}" for name in self.tasks]
        if self.profile != DEFAULT_PROFILE:
            words.append(f"--profile {self.profile}")
        if seeds > 1:
            words.append(f"--seeds {seeds}")
        return " ".join(["cab run", *words])


def group_missing(by_task: Mapping[str, tuple[str, ...]], profile: str) -> tuple[Missing, ...]:
    """Put tasks together that lack the same references."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for task, references in sorted(by_task.items()):
        groups.setdefault(references, []).append(task)
    return tuple(Missing(names, tuple(tasks), profile) for names, tasks in sorted(groups.items()))
