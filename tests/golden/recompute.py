"""Compute the board again from the published files alone: python tests/golden/recompute.py

It reads results/quick/*.jsonl and the floors in results/certificates/quick/*.json, and prints each
entry's score, interval and ranks. Nothing of `cab.scores` and `cab.records` is used: what they do
is written here a second time, from the method page. A test compares the two.
"""

import itertools
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from scipy import stats

REPOSITORY = Path(__file__).resolve().parents[2]
BEST = {"accuracy": 1.0, "r2": 1.0, "digit_accuracy": 1.0, "value_accuracy": 1.0}
LEAST = {"accuracy": 0.0, "r2": -math.inf, "digit_accuracy": 0.0, "value_accuracy": 0.0}

Cell = dict[str, Any]
Sum = tuple[float, dict[tuple[str, str], tuple[float, float, int]], tuple[float, float]]
"""A point; by entry and task a weight, the variance of a mean over seeds and its degrees of
freedom; and the least and greatest possible value."""


def rate_of(cell: Cell) -> float:
    """The learning rate of a record."""
    return float(cell["settings"]["recipe"]["train"]["learning_rate"])


def chosen_rate(cells: list[Cell]) -> tuple[float | None, bool]:
    """The rate of an entry on a task, or the best so far, and whether it is settled."""
    tried = {rate_of(cell): cell for cell in cells if cell["seed"] == 0}
    rates = cells[0]["settings"]["recipe"]["rates"]
    ladder = [rates[0] / 4, rates[0] / 2, *rates, rates[-1] * 2, rates[-1] * 4]
    looked_at = list(rates)
    while all(rate in tried for rate in looked_at):
        rate = preferred([tried[rate] for rate in looked_at], ladder)
        if rate is None:
            return None, True
        at = ladder.index(rate)
        more = [one for one in ladder[max(0, at - 1) : at + 2] if one not in looked_at]
        if not more:
            return rate, True
        looked_at += more
    return preferred(list(tried.values()), ladder), False


def preferred(cells: list[Cell], ladder: list[float]) -> float | None:
    """The rate nearest to the middle, among the best and those within one standard error of it."""
    valid = {
        rate_of(cell): cell["metrics"]["valid"][cell["task"]["metric"]]
        for cell in cells
        if cell["status"] == "ok"
    }
    if not valid:
        return None
    best = max(valid.values(), key=lambda one: one["value"])
    least = best["value"] - best["standard_error"]
    middle = (len(ladder) - 1) / 2
    return min(
        (rate for rate, one in valid.items() if one["value"] >= least),
        key=lambda rate: (abs(ladder.index(rate) - middle), rate),
    )


def task_score(entry: str, task: str, values: list[float], floor: float, metric: str) -> Sum:
    """The score of seeds on a task whose scale begins at a floor."""
    width, n = BEST[metric] - floor, len(values)
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / (n - 1) / n if n > 1 else math.nan
    part = (1 / width, variance, n - 1)
    reach = (LEAST[metric] - floor) / width, 1.0
    return (mean - floor) / width, {(entry, task): part}, reach


def combined(parts: list[tuple[float, Sum]]) -> Sum:
    """A weighted sum."""
    merged: dict[tuple[str, str], tuple[float, float, int]] = {}
    for weight, (_, own, _) in parts:
        for key, (share, variance, degrees) in own.items():
            before = merged[key][0] if key in merged else 0.0
            merged[key] = before + weight * share, variance, degrees
    low = sum(min(w * reach[0], w * reach[1]) for w, (_, _, reach) in parts)
    high = sum(max(w * reach[0], w * reach[1]) for w, (_, _, reach) in parts)
    return sum(weight * one[0] for weight, one in parts), merged, (low, high)


def spread_of(one: Sum) -> tuple[float, float]:
    """The standard error of a sum, and its degrees of freedom by Welch and Satterthwaite."""
    shares = [(weight**2 * variance, degrees) for weight, variance, degrees in one[1].values()]
    total = sum(share for share, _ in shares)
    if not total:
        return 0.0, 1.0
    return math.sqrt(total), total**2 / sum(share**2 / degrees for share, degrees in shares)


def interval(one: Sum) -> tuple[float, float] | None:
    """The 95 % interval over seeds; None where there is a single seed somewhere."""
    if any(degrees < 1 for _, _, degrees in one[1].values()):
        return None
    error, degrees = spread_of(one)
    half = float(stats.t.ppf(0.975, degrees)) * error
    return max(one[0] - half, min(one[2][0], one[0])), min(one[0] + half, max(one[2][1], one[0]))


def rank_sets(scores: dict[str, Sum]) -> dict[str, tuple[int, int]]:
    """The best and the worst rank of each entry, by Welch's test with Holm's correction."""
    p_values = {}
    for one, other in itertools.combinations(sorted(scores), 2):
        difference = combined([(1.0, scores[one]), (-1.0, scores[other])])
        error, degrees = spread_of(difference)
        p_values[one, other] = (
            2 * float(stats.t.sf(abs(difference[0]) / error, degrees))
            if error
            else float(abs(difference[0]) < 1e-12)
        )
    ranks = {name: [1, len(scores)] for name in scores}
    for place, pair in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        if p_values[pair] * (len(p_values) - place) >= 0.05:
            break  # neither this difference nor any with a greater p-value is significant
        better, worse = sorted(pair, key=lambda name: -scores[name][0])
        ranks[worse][0] += 1
        ranks[better][1] -= 1
    return {name: (best, worst) for name, (best, worst) in ranks.items()}


def recompute(results: Path, roles: dict[str, str], profile: str = "quick") -> dict[str, Any]:
    """Every entry's scores, intervals and rank sets, from the files of a profile.

    Args:
        results: the folder `results`.
        roles: the role of each variant; only references and entries are ranked.
        profile: the profile.
    """
    floors, versions, patterns = {}, {}, {}
    for path in sorted((results / "certificates" / profile).glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("floors") and content["holds"]:
            levels = [round(one, 4) for one in content["floors"]]  # as the task's card has them
            floors[content["task"]] = sum(levels) / len(levels)
            versions[content["task"]] = content["version"]
    by_entry: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((results / profile).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            cell = json.loads(line)
            name = cell["task"]["name"]
            if cell["task"]["version"] == versions.get(name):
                by_entry[cell["variant"]["name"]][name].append(cell)
                patterns[name] = cell["task"]["pattern"]
    scores: dict[str, dict[str, Sum]] = {}
    complete: dict[str, set[str]] = {}
    for entry, own in by_entry.items():
        scores[entry], complete[entry] = {}, set()
        for task, cells in own.items():
            rate, settled = chosen_rate(cells)
            if rate is None:
                continue
            seeds = [cell for cell in cells if rate_of(cell) == rate]
            metric = seeds[0]["task"]["metric"]
            ended = [one for one in seeds if one["status"] == "ok"]
            done = [one["metrics"]["test"][metric]["value"] for one in ended]
            scores[entry][task] = task_score(entry, task, done, floors[task], metric)
            if settled and len(done) == len(seeds) >= 3:
                complete[entry].add(task)
    return {"entries": _entries(scores, complete, patterns, roles)}


def _entries(
    scores: dict[str, dict[str, Sum]],
    complete: dict[str, set[str]],
    patterns: dict[str, str],
    roles: dict[str, str],
) -> dict[str, Any]:
    tasks_of = {
        pattern: {task for task, own in patterns.items() if own == pattern}
        for pattern in ("ns", "cs", "nc", "cc")
    }
    by_pattern: dict[str, dict[str, Sum]] = defaultdict(dict)
    overall: dict[str, Sum] = {}
    for entry, own in scores.items():
        for pattern, tasks in tasks_of.items():
            if have := sorted(tasks & own.keys()):
                mean = combined([(1 / len(have), own[task]) for task in have])
                by_pattern[pattern][entry] = mean
        means = [each[entry] for each in by_pattern.values() if entry in each]
        overall[entry] = combined([(1 / len(means), mean) for mean in means])
    ranked = {name for name in scores if roles[name] in ("reference", "entry")}
    sets: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    whole: dict[tuple[str, ...], dict[str, Sum]] = defaultdict(dict)
    for pattern, tasks in tasks_of.items():
        whole_in = {name for name in ranked if tasks <= complete[name]}
        alike = {name: one for name, one in by_pattern[pattern].items() if name in whole_in}
        for name, found in rank_sets(alike).items() if len(alike) > 1 else ():
            sets[name][pattern] = found
    for name in ranked:
        covered = tuple(p for p in tasks_of if name in by_pattern[p])
        if set().union(*(tasks_of[p] for p in covered)) <= complete[name]:
            whole[covered][name] = overall[name]
    of_all = {k: v for own in whole.values() if len(own) > 1 for k, v in rank_sets(own).items()}
    return {
        name: {
            "score": (overall[name][0], interval(overall[name])),
            "patterns": {
                pattern: (own[name][0], interval(own[name]))
                for pattern, own in by_pattern.items()
                if name in own
            },
            "tasks": {task: (one[0], interval(one)) for task, one in scores[name].items()},
            "rank": of_all.get(name),
            "pattern_ranks": sets[name],
        }
        for name in scores
    }


if __name__ == "__main__":
    from cab.registry import discover_variants

    variants = {card.name: card.role for card in discover_variants().cards()}
    found = recompute(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "results", variants)
    for name, row in sorted(found["entries"].items(), key=lambda item: -item[1]["score"][0]):
        point, around = row["score"]
        between = "" if around is None else f" [{around[0]:.3f}, {around[1]:.3f}]"
        ranks = " ".join(f"{p} {a}-{b}" for p, (a, b) in sorted(row["pattern_ranks"].items()))
        print(f"{name:20} {point:7.3f}{between:20} {ranks}")
