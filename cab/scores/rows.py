"""An entry's row on a board: its results, its scores and its coverage."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cab.scores.estimates import Estimated
from cab.scores.rank_sets import RankSet
from cab.scores.rates import Tuning, trial_of
from cab.taxonomy import Pattern, Role, TaskCard

PARAMETER_BUDGET = 1.1
"""How many parameters an entry may have, over those of the reference on the same task. One that
has more is marked with its size wherever it stands, and ranked like the others."""

RANKED_ROLES: tuple[Role, ...] = ("entry", "reference")
"""The roles that have ranks: softmax attention is an entry like any other."""


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
    """An entry on a task, at the learning rate that counts.

    values holds the test mean of each seed that ended well, mean their mean in the metric's unit,
    score its place on the task's scale if there is one. outcomes counts how all seeds ended.
    deviation is the standard deviation of the scores over seeds; left_plateau counts the seeds
    whose score on validation is at least `cab.scores.normalise.PLATEAU`, None where that is not
    known. tuning holds what the other learning rates gave.
    """

    task: str
    values: Mapping[int, float]
    outcomes: Mapping[str, int]
    mean: Estimated | None
    score: Estimated | None
    tuning: Tuning
    deviation: float | None = None
    left_plateau: int | None = None

    @property
    def failures(self) -> int:
        """How many seeds ended without a result."""
        return sum(count for status, count in self.outcomes.items() if status != "ok")

    @property
    def trial(self) -> str:
        """Why the result is a trial; empty if it is complete, or complete but for failures."""
        return trial_of(self.tuning, sum(self.outcomes.values()))


@dataclass(frozen=True)
class BoardRow:
    """An entry. score is None without a result on any scored task.

    seeds is the least number of seeds on a scored task; without a score, on all tasks that it
    ran. ranks is its rank set among rows of the same coverage, ranks_in those within each pattern;
    there is none for what is not ranked: controls, reimplementations, trials, and entries with
    failed seeds or alone in their coverage. unranked and unranked_in say why an entry with a score
    has no rank set.

    size is its parameters over the reference's, on the scored task on which it has the most; None
    where they are not known.
    """

    entry: str
    variant: str
    source: str
    role: Role
    results: Mapping[str, Result]
    patterns: Mapping[Pattern, Estimated]
    score: Estimated | None
    coverage: Coverage
    seeds: int
    ranks: RankSet | None = None
    ranks_in: Mapping[Pattern, RankSet] = field(default_factory=dict)
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
        """How many of its seeds ended without a result."""
        return sum(one.failures for one in self.results.values())

    @property
    def trial(self) -> str:
        """Why one of its scored results is a trial; empty if none is."""
        scored = (self.results[task] for task in self.coverage.tasks)
        return next((one.trial for one in scored if one.trial), "")

    @property
    def plateau(self) -> tuple[int, int]:
        """How many of its seeds on scored tasks left the plateau, and how many there are."""
        scored = [(self.results[task].left_plateau, task) for task in self.coverage.tasks]
        known = [
            (left, len(self.results[task].values)) for left, task in scored if left is not None
        ]
        return sum(left for left, _ in known), sum(seeds for _, seeds in known)

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must know beside its score: size, trial, failed seeds, the plateau."""
        left, seeds = self.plateau
        return tuple(
            filter(
                None,
                (
                    self.size_mark,
                    "trial" if self.trial else "",
                    f"{self.failures} failed" if self.failures else "",
                    f"{seeds - left}/{seeds} on the plateau" if left < seeds else "",
                ),
            )
        )

    def obstacle(self, needed: Collection[str]) -> str:
        """Why an entry has no rank on some tasks; empty if it has one."""
        have = [self.results[task] for task in sorted(needed) if self.mean(task) is not None]
        if len(have) < len(needed):
            return f"results on {len(have)} of {len(needed)} tasks"
        failed = sum(one.failures for one in have)
        if failed:
            return f"{failed} failed seed{'' if failed == 1 else 's'}"
        trials = [one.trial for one in have if one.trial]
        return f"trial: {min(trials)}" if trials else ""

    def failed(self, pattern: Pattern, tasks: Mapping[str, TaskCard]) -> bool:
        """Whether it ran on tasks of a pattern, and none of them ended well."""
        own = [one for name, one in self.results.items() if tasks[name].pattern == pattern]
        return bool(own) and all(one.mean is None for one in own)

    def mean(self, task: str) -> Estimated | None:
        """The mean of its seeds on a task; None where none ended well, or none was run."""
        result = self.results.get(task)
        return None if result is None else result.mean
