"""How well the scored tasks tell entries apart: ceilings and floors, scatter, reliability, rates.

These are the conditions that a benchmark must meet before its ranks mean something. They are
computed from records alone; `docs/reliability.md` says where each limit comes from.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cab.analysis.variance import Components, Score, variance_components
from cab.taxonomy import Pattern, TaskCard

CEILING, FLOOR = 0.95, 0.05
"""Scores above and below which a task does not tell entries apart."""
CROWD = 0.25
"""The share of entries that may be beyond either."""
LEVEL_LEAST, TOP_LEAST = 0.95, 0.85
"""What the reference must reach at each level, and at the last, where it can solve the task."""
WIDE, WIDE_SHARE = 0.3, 0.02
"""A range over seeds that is wide, and the share of cells in which it may be."""
SCATTER, SCATTER_SHARE = 0.06, 0.9
"""The deviation over seeds that so many of the cells must not exceed."""
RELIABLE = 0.8
"""The reliability that the mean of a pattern's tasks must have."""
AT_AN_END = 0.25
"""The share of cells whose chosen learning rate may be the lowest or the highest tried."""
SAME_ORDER = 0.8
"""Kendall's tau between the order of entries and that after four times the steps."""
LONGER = 4

STEPS = "train.steps"


@dataclass(frozen=True)
class Finding:
    """A condition: what was found, what is required, and whether it holds.

    holds is None where the records do not decide it. details names what does not hold.
    """

    name: str
    found: str
    required: str
    holds: bool | None
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reliability:
    """All findings, the components of each pattern, and the scores that they are made of."""

    findings: tuple[Finding, ...]
    components: Mapping[Pattern, Components] = field(default_factory=dict)
    scores: tuple[Score, ...] = ()


def reliability(
    scores: Sequence[Score],
    longer: Sequence[Score],
    tasks: Mapping[str, TaskCard],
    reference: str,
    aside: Iterable[str] = (),
) -> Reliability:
    """Judge the scored tasks by the scores of some entries.

    Args:
        scores: of all entries, the reference and the controls among them.
        longer: scores of the same entries after four times the steps, one seed each.
        tasks: the cards of the scored tasks.
        reference: the entry that is to solve every task that has no solvers of its own.
        aside: entries that are controls, which only the first condition looks at.
    """
    controls = set(aside)
    own = [one for one in scores if one.entry not in controls]
    components = {
        pattern: found
        for pattern in Pattern
        if (found := variance_components(_of_pattern(own, tasks, pattern))) is not None
    }
    findings = (
        _reference(scores, tasks, reference),
        _crowd("above the ceiling", own, lambda score: score > CEILING),
        _crowd("at the floor", own, lambda score: score < FLOOR),
        _wide(own),
        _scatter(own),
        *(_reliable(pattern, found) for pattern, found in components.items()),
        _rates(own),
        *(
            _order(pattern, _of_pattern(own, tasks, pattern), _of_pattern(longer, tasks, pattern))
            for pattern in components
        ),
    )
    return Reliability(findings, components, tuple(scores))


def _of_pattern(
    scores: Iterable[Score], tasks: Mapping[str, TaskCard], pattern: Pattern
) -> list[Score]:
    return [one for one in scores if tasks[one.task].pattern == pattern]


def _reference(scores: Sequence[Score], tasks: Mapping[str, TaskCard], reference: str) -> Finding:
    own = [one for one in scores if one.entry == reference and not tasks[one.task].solvers]
    low = []
    for one in own:
        for number, value in enumerate(one.levels, 1):
            least = TOP_LEAST if number == len(one.levels) else LEVEL_LEAST
            if value < least:
                low.append(f"{one.task}, level {number}: {value:.3f}, required {least:g}")
    return Finding(
        f"{reference} at each level",
        f"too low at {len(low)} of {sum(len(one.levels) for one in own)} levels",
        f"{LEVEL_LEAST:g}, at the last level {TOP_LEAST:g}",
        not low if own else None,
        tuple(low),
    )


def _crowd(where: str, scores: Sequence[Score], beyond: Callable[[float], bool]) -> Finding:
    counts: dict[str, list[bool]] = {}
    for one in scores:
        counts.setdefault(one.task, []).append(beyond(one.mean))
    shares = {task: sum(flags) / len(flags) for task, flags in counts.items()}
    crowded = {task: share for task, share in shares.items() if share > CROWD}
    return Finding(
        f"entries {where}",
        f"more in {len(crowded)} of {len(shares)} tasks",
        f"at most {CROWD:.0%} of a task's entries",
        not crowded if shares else None,
        tuple(f"{task}: {share:.0%}" for task, share in sorted(crowded.items())),
    )


def _wide(scores: Sequence[Score]) -> Finding:
    several = [one for one in scores if len(one.seeds) > 1]
    wide = [one for one in several if max(one.seeds) - min(one.seeds) > WIDE]
    share = len(wide) / max(1, len(several))
    return Finding(
        f"range over seeds above {WIDE:g}",
        _of(share, several, 1),
        f"at most {WIDE_SHARE:.0%}",
        share <= WIDE_SHARE if several else None,
        tuple(f"{one.entry} on {one.task}: {_seeds(one)}" for one in wide),
    )


def _scatter(scores: Sequence[Score]) -> Finding:
    several = [one for one in scores if len(one.seeds) > 1]
    narrow = sum(statistics.stdev(one.seeds) <= SCATTER for one in several)
    share = narrow / max(1, len(several))
    return Finding(
        f"deviation over seeds of at most {SCATTER:g}",
        _of(share, several, 1),
        f"at least {SCATTER_SHARE:.0%}",
        share >= SCATTER_SHARE if several else None,
    )


def _of(share: float, cells: Sequence[Score], digits: int = 0) -> str:
    return f"{share:.{digits}%} of {len(cells)} cells" if cells else "no such cells"


def _seeds(one: Score) -> str:
    return " ".join(f"{seed:.2f}" for seed in one.seeds)


def _reliable(pattern: Pattern, found: Components) -> Finding:
    required = pattern in (Pattern.NS, Pattern.CS)
    return Finding(
        f"reliability of the mean in {pattern}",
        f"{found.reliability:.2f} ({found.entries} entries, {found.tasks} tasks)",
        f"at least {RELIABLE:g}" if required else "none (few variants offer the pattern)",
        found.reliability >= RELIABLE if required else None,
    )


def _rates(scores: Sequence[Score]) -> Finding:
    chosen = [one for one in scores if one.at_end is not None]
    share = sum(bool(one.at_end) for one in chosen) / max(1, len(chosen))
    by_task = Counter(one.task for one in chosen if one.at_end)
    return Finding(
        "chosen learning rate at an end of those tried",
        _of(share, chosen),
        f"at most {AT_AN_END:.0%}",
        share <= AT_AN_END if chosen else None,
        tuple(f"{task}: {count}" for task, count in by_task.most_common()),
    )


def _order(pattern: Pattern, scores: Sequence[Score], longer: Sequence[Score]) -> Finding:
    name = f"order in {pattern} after {LONGER} times the steps"
    both = {(one.entry, one.task) for one in scores} & {(one.entry, one.task) for one in longer}
    means = [
        {
            entry: statistics.fmean(one.mean for one in each if one.entry == entry)
            for entry in sorted({entry for entry, _ in both})
        }
        for each in (
            [one for one in scores if (one.entry, one.task) in both],
            [one for one in longer if (one.entry, one.task) in both],
        )
    ]
    required = f"Kendall's tau of at least {SAME_ORDER:g}"
    if len(means[0]) < 3:
        return Finding(name, "too few entries were trained longer", required, None)
    from scipy.stats import kendalltau

    tau = float(kendalltau(list(means[0].values()), list(means[1].values())).statistic)
    moved = sorted(means[0], key=lambda entry: means[0][entry] - means[1][entry])[:3]
    return Finding(
        name,
        f"{tau:.2f} ({len(means[0])} entries)",
        required,
        tau >= SAME_ORDER,
        tuple(f"{entry}: {means[0][entry]:.2f} becomes {means[1][entry]:.2f}" for entry in moved),
    )
