"""An entry's row on a board: its results, its scores and its coverage."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cab.scores.drawn import Drawn
from cab.scores.ties import Place
from cab.taxonomy import Pattern, Role, TaskCard

PARAMETER_BUDGET = 1.1
"""How many parameters an entry may have, over those of the reference on the same task. One that
has more is marked with its size wherever it stands, and ranked like the others."""


@dataclass(frozen=True)
class Coverage:
    """The scored tasks and patterns on which an entry has results, and how many there are."""

    tasks: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    of_tasks: int
    of_patterns: int

    def __str__(self) -> str:
        if not self.of_tasks:
            return "not scored"
        return (
            f"{len(self.patterns)}/{self.of_patterns} patterns, {len(self.tasks)}/{self.of_tasks} "
            f"tasks"
        )


@dataclass(frozen=True)
class Result:
    """An entry on a task: the mean of its seeds in the metric's unit, and its score if any.

    outcomes counts how all of its cells ended; values holds the test mean of each seed that
    ended well.
    """

    task: str
    values: Mapping[int, float]
    outcomes: Mapping[str, int]
    mean: Drawn | None
    score: Drawn | None


@dataclass(frozen=True)
class BoardRow:
    """An entry. score is None without a result on any scored task.

    seeds is the least number of seeds on a scored task; where it has no score, on the tasks
    whose references are missing, else on all that it ran. place is its place among rows of the
    same coverage, places the one within each pattern; there is none for what is not ranked:
    controls, the reference, entries with too few seeds or alone in their coverage. unranked and
    unranked_in say why an entry with a score has no place.

    size is its parameters over the reference's, on the scored task on which it has the most; None
    where they are not known.
    """

    entry: str
    variant: str
    source: str
    role: Role
    results: Mapping[str, Result]
    patterns: Mapping[Pattern, Drawn]
    score: Drawn | None
    coverage: Coverage
    seeds: int
    place: Place | None = None
    places: Mapping[Pattern, Place] = field(default_factory=dict)
    unranked: str = ""
    unranked_in: Mapping[Pattern, str] = field(default_factory=dict)
    size: float | None = None

    @property
    def role_words(self) -> str:
        """Its role, in words for readers."""
        return self.role.replace("_", " ")

    @property
    def size_mark(self) -> str:
        """How many more parameters than the reference it has, `+39 % size`, if over the budget."""
        if self.size is None or self.size <= PARAMETER_BUDGET:
            return ""
        return f"+{round(100 * (self.size - 1))} % size"

    @property
    def failures(self) -> int:
        """How many of its cells ended without a result."""
        ends = (end for one in self.results.values() for end in one.outcomes.items())
        return sum(count for status, count in ends if status != "ok")

    def failed(self, pattern: Pattern, tasks: Mapping[str, TaskCard]) -> bool:
        """Whether it ran on tasks of a pattern, and none of them ended well."""
        own = [one for name, one in self.results.items() if tasks[name].pattern == pattern]
        return bool(own) and all(one.mean is None for one in own)

    def mean(self, task: str) -> Drawn | None:
        """The mean of its seeds on a task; None where none ended well, or none was run."""
        result = self.results.get(task)
        return None if result is None else result.mean
