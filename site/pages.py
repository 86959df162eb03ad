"""Which pages there are, and what each one shows."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any

from cab.profiles import SEEDS_FOR_A_RANK
from cab.publishing.provenance import tree_of
from cab.records.store import Record
from cab.scores.analyses import (
    Benefit,
    benefit_of_attention,
    consistency,
    pattern_correlations,
    task_correlations,
)
from cab.scores.estimates import Estimated
from cab.scores.ranking import incomplete
from cab.scores.reference import legacy_index
from cab.scores.rows import BoardRow
from cab.scores.summary import entry_label
from cab.scores.table import host_class
from cab.site import costs, kernels
from cab.site.capacity import capacity
from cab.site.content import Content, ProfileContent, by_entry, slug
from cab.site.findings import findings_of
from cab.site.formulas import complexity
from cab.site.gates import feature_maps
from cab.site.lengths import lengths
from cab.site.news import NEW_FOR, new_variants, newest_record
from cab.site.not_run import not_run
from cab.site.precision import of_variant, precision
from cab.site.state_tracking import state_tracking
from cab.site.strips import Axis, score_axis, spark
from cab.site.unscored import without_score
from cab.site.weights import along_the_sequence, evaluated
from cab.taxonomy import Domain, Family, Pattern, TaskCard


@dataclass(frozen=True)
class Page:
    """A file, the template that makes it, and the values that the template names."""

    path: str
    template: str
    values: Mapping[str, Any]
    profile: str = ""


def all_pages(content: Content) -> Iterator[Page]:
    """Every page; those of the first profile stand at the root, the others in its folder."""
    for place, one in enumerate(content.profiles):
        prefix = "" if place == 0 else f"{one.profile}/"
        new = new_variants(content, one)
        shared = {"prefix": prefix, "data": one, "board": one.board, "new": new}
        for path, template, values in profile_pages(content, one):
            yield Page(prefix + path, template, {**shared, **values}, one.profile)
    first = content.profiles[0]
    shared = {"prefix": "", "data": first, "board": first.board}
    index = {
        (table.pattern, entry): legacy_index(table, entry)
        for published in content.published
        for table in published.index_tables
        for entry in table.values
    }
    yield Page(
        "published.html",
        "published.html",
        {**shared, "published": content.published, "index": index, **costs.published(content)},
    )
    for name in ("method", "contribute", "changelog"):
        yield Page(f"{name}.html", f"{name}.html", {**shared, "texts": content.texts})


def profile_pages(
    content: Content, one: ProfileContent
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The pages of one profile: path, template, values."""
    measured = kernels.kernel_tables(content.kernels, content.reference)
    yield "index.html", "board.html", board(content, one)
    for pattern in Pattern:
        yield f"patterns/{pattern}.html", "pattern.html", of_pattern(content, one, pattern)
    for name in _variant_names(content, one):
        values = variant(content, one, name, measured)
        yield f"variants/{slug(name)}.html", "variant.html", values
    yield "variants/index.html", "variants.html", {"names": _variant_names(content, one)}
    for name in content.tasks:
        yield f"tasks/{slug(name)}.html", "task.html", task(content, one, name)
    yield "tasks/index.html", "tasks.html", {"by_pattern": _tasks_by_pattern(content)}
    yield "compare.html", "compare.html", {"counting": _counting(content, one)}
    yield "pareto.html", "pareto.html", costs.pareto(content, one)
    drawn = kernels.drawn(measured, one.board.rows, content.family)
    yield "kernels.html", "kernels.html", {"kernels": drawn, "family_of": content.family}
    yield "findings.html", "findings.html", {"findings": findings_of(content, one)}
    for name, values_of in (
        ("feature-maps", feature_maps),
        ("capacity", capacity),
        ("state-tracking", state_tracking),
        ("precision", precision),
    ):
        yield f"{name}.html", f"{name}.html", values_of(content, one)
    yield "taxonomy.html", "taxonomy.html", {"families": list(Family)}
    shared = analyses(content, one)
    for name in ("consistency", "correlations", "benefit", "lengths"):
        yield f"{name}.html", f"{name}.html", shared


def _variant_names(content: Content, one: ProfileContent) -> list[str]:
    """The registered variants, and those that results name."""
    return sorted({*content.variants, *(record.variant.name for record in one.records.values())})


def _tasks_by_pattern(content: Content) -> list[tuple[Pattern, list[Any]]]:
    cards = list(content.tasks.values())
    return [(pattern, [card for card in cards if card.pattern == pattern]) for pattern in Pattern]


def _counting(content: Content, one: ProfileContent) -> list[Any]:
    """The cards of the scored tasks, by pattern."""
    cards = [content.tasks[name] for name in one.board.scales]
    return sorted(cards, key=lambda card: (list(Pattern).index(card.pattern), card.name))


def _axis(rows: list[BoardRow], width: float = 220) -> Axis:
    return score_axis((row.score for row in rows if row.score is not None), width)


def board(content: Content, one: ProfileContent) -> dict[str, Any]:
    """The board: rows by coverage."""
    rows = [row for row in one.board.rows if row.score is not None]
    groups = [
        (group[0].coverage, group)
        for _, found in groupby(rows, key=lambda row: row.coverage.tasks)
        if (group := list(found))
    ]
    families = {row.variant: content.family(row.variant) for row in one.board.rows}
    counting = _counting(content, one)
    return {
        "groups": groups,
        "without": without_score(content, one),
        "families": families,
        "complexities": {name: complexity(content.variants[name])
                         if name in content.variants else "unknown" for name in families},
        "axis": _axis(rows, 170),
        "counting": counting,
        "domains": [domain for domain in Domain if any(c.domain == domain for c in counting)],
        "newest": newest_record(one),
        "new_for": NEW_FOR.days,
        "hosts": sorted({host_class(r.environment) for r in one.records.values()}),
        "ranked": sum(row.ranks is not None for row in rows),
        "seeds_for_a_rank": SEEDS_FOR_A_RANK,
    }  # fmt: skip


def of_pattern(content: Content, one: ProfileContent, pattern: Pattern) -> dict[str, Any]:
    """One pattern's entries with each of its tasks: those with most of them first, best first."""
    rows = [row for row in one.board.rows if pattern in row.patterns]
    counting = [card for card in _counting(content, one) if card.pattern == pattern]
    names = {card.name for card in counting}
    rows.sort(
        key=lambda row: (
            incomplete(row, names),
            -len(names & row.results.keys()),
            -row.patterns[pattern].point,
            row.entry,
        )
    )
    every = [card for card in content.tasks.values() if card.pattern == pattern]
    return {
        "pattern": pattern,
        "rows": rows,
        "unscored": [
            row
            for row in one.board.rows
            if pattern not in row.patterns
            and any(content.tasks[task].pattern == pattern for task in row.results)
        ],
        "counting": counting,
        "not_run": not_run(content, one, counting or every),
        "without": [row for row in one.board.rows
                    if row not in rows and names & row.results.keys()],
        "others": [
            card for card in every if card.name not in one.board.scales
        ],
        "families": {row.variant: content.family(row.variant) for row in rows},
        "axis": score_axis((row.patterns[pattern] for row in rows), 220),
    }  # fmt: skip


def variant(
    content: Content, one: ProfileContent, name: str, measured: list[kernels.Machine]
) -> dict[str, Any]:
    """A variant: card, capability, scores, curves, costs, crossover lengths, records."""
    records = one.records_of(name)
    card = content.variants.get(name)
    counted = [record for record in records if record.key in one.on_board]
    rows = one.rows_of(name)
    return {
        "name": name,
        "card": card,
        "rows": rows,
        "unscored": [reason for reason, _ in without_score(content, one, name)],
        "records": records,
        "on_board": one.on_board,
        "curves": _curves(counted),
        "lengths": kernels.efficiency_lengths(measured, name),
        "evaluated": evaluated(counted),
        "invariance": content.invariance.get(name),
        "precision": of_variant(content, one, name),
        "along": along_the_sequence(content, one, name),
        "costs": costs.of_records(counted),
        "axis": _axis([row for row in one.board.rows if row.score is not None]),
        "consistency": {row.entry: consistency(row) for row in rows},
        "entry_of": entry_label,
        "host_of": host_class,
        "tree_of": tree_of,
    }


def _curves(records: list[Record]) -> list[tuple[str, str, list[Any]]]:
    """Per entry and task the curves of its seeds, on the scale of the highest first loss."""
    found = []
    for entry, name, own in by_entry(records):
        curves = [one.curve for one in own if one.curve]
        top = max((curve[0].loss for curve in curves), default=0.0)
        if top > 0:
            found.append((entry, name, [spark(curve, top) for curve in curves]))
    return found


def task(content: Content, one: ProfileContent, name: str) -> dict[str, Any]:
    """A task: definition, controls, certificate, and every entry that ran on it."""
    card = content.tasks[name]
    rows = [row for row in one.board.rows if name in row.results]
    sign = -1 if card.higher_is_better else 1
    means = {row.entry: mean for row in rows if (mean := row.mean(name)) is not None}
    points = {entry: sign * mean.point for entry, mean in means.items()}
    rows.sort(key=lambda row: (points.get(row.entry, math.inf), row.entry))
    reach = [end for mean in means.values() for end in _reach(mean)]
    if card.chance is not None:
        reach.append(card.chance)
    scale = one.board.scales.get(name)
    reach += [] if scale is None else [scale.floor, scale.top]
    shortcuts: dict[str, float] = {}
    for record in one.records.values():
        # Every record holds them. Those of softmax and none count: nobody's own row decides.
        ours = record.variant.name in (content.reference, content.zero)
        if ours and record.task.name == name and record.task.version == card.version:
            shortcuts |= {key: found.value for key, found in sorted(record.shortcuts.items())}
    low, high = (min(reach), max(reach)) if reach else (0.0, 1.0)
    air = 0.05 * (high - low) or 0.5
    benefits = {card.name: found for card, found in _benefits(content, one)}
    return {
        "card": card,
        "rows": rows,
        "not_run": not_run(content, one, [card]),
        "axis": Axis(low - air, high + air, 220),
        "certificate": one.certificates.get(name),
        "families": {row.variant: content.family(row.variant) for row in rows},
        "shortcuts": shortcuts,
        "benefit": benefits.get(name),
    }


def _reach(mean: Estimated) -> tuple[float, ...]:
    interval = mean.interval()
    return (mean.point,) if interval is None else (interval.low, interval.high)


def analyses(content: Content, one: ProfileContent) -> dict[str, Any]:
    """Consistency, correlations, benefit of attention."""
    spreads = [(row, consistency(row)) for row in one.board.rows if row.role == "entry"]
    known = sorted(
        ((row, found) for row, found in spreads if found is not None),
        key=lambda pair: (pair[1].spread, pair[0].entry),
    )
    return {
        "consistencies": known,
        "correlations": pattern_correlations(one.board),
        "task_correlations": task_correlations(one.board),
        "pattern_pairs": list(combinations(Pattern, 2)),
        "benefits": _benefits(content, one),
        "counting": _counting(content, one),
        **lengths(content, one),
    }


def _benefits(content: Content, one: ProfileContent) -> list[tuple[TaskCard, Benefit]]:
    """What attention is worth on each task that the reference and `none` have results on."""
    ends = {row.role: row for row in one.board.rows if row.role in ("reference", "no_attention")}
    if len(ends) < 2:
        return []
    return [
        (card, benefit_of_attention(name, mean, without, card.higher_is_better))
        for name, card in content.tasks.items()
        if (mean := ends["reference"].mean(name)) is not None
        and (without := ends["no_attention"].mean(name)) is not None
    ]
