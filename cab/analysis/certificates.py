"""Certificates: measurements which show that a task's score depends on attention.

A certificate trains attention (the reference, and the solvers that the task's card names) and the
controls by the same protocol as every entry: all learning rates with one seed, more seeds at the
one that validation chooses. A task is not scored if the lead of the best attention over the best
control is not above the margin of its card by more than its interval. The certificate also holds
the floor at each level: what needs no attention, which is 0 on the scale.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cab.errors import CabError
from cab.profiles import Profile
from cab.records.certificates import Origin
from cab.records.rates import SEARCH_SEED, at_chosen_rate, rate_of
from cab.records.store import Record
from cab.registry import Registry, name_of_role
from cab.running.cells import Cell, Request, plan
from cab.scores.summary import entry_label, student_t95
from cab.taxonomy import TaskCard, VariantCard

FLOOR_ROLES = ("no_attention", "control")
"""The roles of variants that need no attention; the card's own controls, such as a window, read
some tokens, so they count for the margin and not for the floor."""
CHANCE = "chance"


@dataclass(frozen=True)
class Measured:
    """An entry of a certificate: the test means of its seeds at each level, at the chosen rate.

    valid holds what each learning rate gave on validation, with the seed of the search.
    """

    rate: float
    valid: Mapping[float, float]
    levels: tuple[tuple[float, ...], ...]

    @property
    def seeds(self) -> tuple[float, ...]:
        """The mean over the levels of each seed."""
        return tuple(statistics.fmean(seed) for seed in self.levels)

    @property
    def by_level(self) -> tuple[float, ...]:
        """The mean over the seeds at each level."""
        return tuple(statistics.fmean(level) for level in zip(*self.levels, strict=True))


@dataclass(frozen=True)
class CertificateFile:
    """What attention and the controls reached, the floor at each level, and the margin.

    levels names the levels, from the easiest; a task without any has one without a name. Shortcuts
    need no training and no seed: a value at each level. floors holds the floor of each level, and
    floor_by what reaches it. margin is best attention minus best control, oriented so that more is
    better, averaged over seeds and levels; interval its 95 % half-width by Student's t over seeds.
    """

    task: str
    version: int
    profile: str
    metric: str
    higher_is_better: bool
    reference: str
    levels: tuple[str, ...]
    attention: Mapping[str, Measured]
    controls: Mapping[str, Measured]
    shortcuts: Mapping[str, tuple[float, ...]]
    floors: tuple[float, ...]
    floor_by: tuple[str, ...]
    best: str
    best_control: str
    margin: float
    interval: float | None
    asked: float
    origin: Origin

    @property
    def holds(self) -> bool:
        """Whether the margin is above what is asked by more than its interval."""
        return self.interval is not None and self.margin - self.interval > self.asked

    def to_json(self) -> str:
        """The canonical text: sorted keys, six digits, a final newline."""
        entries = {**self.attention, **self.controls}
        content = {
            "task": self.task,
            "version": self.version,
            "profile": self.profile,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "reference": self.reference,
            "attention": sorted(self.attention),
            "seeds": min(len(one.levels) for one in entries.values()),
            "levels": self.levels,
            "values": {k: [round(v, 6) for v in one.seeds] for k, one in entries.items()},
            "by_level": {k: [round(v, 6) for v in one.by_level] for k, one in entries.items()},
            "rates": {
                k: {"chosen": one.rate, "valid": {f"{r:g}": v for r, v in one.valid.items()}}
                for k, one in entries.items()
            },
            "shortcuts": {
                name: [round(value, 6) for value in values]
                for name, values in self.shortcuts.items()
            },
            "floors": [round(value, 6) for value in self.floors],
            "floor_by": self.floor_by,
            "best": self.best,
            "best_control": self.best_control,
            "margin": round(self.margin, 6),
            "interval": None if self.interval is None else round(self.interval, 6),
            "asked": self.asked,
            "holds": self.holds,
            "origin": self.origin.model_dump(),
        }
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


def control_cells(
    task: TaskCard,
    profile: Profile,
    seeds: int,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    include: tuple[Path, ...] = (),
) -> tuple[Cell, ...]:
    """The cells of a certificate: the reference, the solvers, no mixing, and the controls.

    Of a task with several learning rates these are the cells of the search, which more seeds
    follow (`cab.running.search`).
    """
    rows: list[tuple[str, Mapping[str, str]]] = [(name_of_role(variants, "reference"), {})]
    rows += [(card.name, {}) for card in variants.cards() if card.role in FLOOR_ROLES]
    for named in (task.solvers, task.controls):
        rows += [(name, {k: str(v) for k, v in o.items()}) for name, o in named.items()]
    cells: list[Cell] = []
    for name, options in rows:
        if task.pattern in variants.card(name).patterns:
            request = Request(
                [name],
                profile,
                seeds,
                [task.name],
                options=options,
                include=include,
                rates=profile.scored,
            )
            cells.extend(plan(request, variants, tasks).cells)
    return tuple(cells)


def certify(
    task: TaskCard, profile: str, variants: Registry[VariantCard], records: Iterable[Record]
) -> CertificateFile:
    """Compute the certificate from the records of `control_cells` and those that follow them.

    Raises:
        CabError: an entry has no result, so there is nothing to compare.
    """
    reference = name_of_role(variants, "reference")
    by_entry: dict[str, list[Record]] = {}
    for record in records:
        by_entry.setdefault(entry_label(record), []).append(record)
    measured = {entry: _measured(entry, own, task) for entry, own in by_entry.items()}
    names = {entry: own[0].variant.name for entry, own in by_entry.items()}
    attention = {
        entry: measured[entry]
        for entry, name in names.items()
        if name == reference or name in task.solvers
    }
    controls = {entry: one for entry, one in measured.items() if entry not in attention}
    example = by_entry[next(entry for entry, name in names.items() if name == reference)][0]
    shortcuts = _shortcuts(example)
    sign = 1.0 if task.higher_is_better else -1.0
    floors, floor_by = _floors(
        task,
        sign,
        {
            **{
                entry: measured[entry].by_level
                for entry in controls
                if variants.card(names[entry]).role in FLOOR_ROLES
            },
            **shortcuts,
        },
        max(1, len(example.metrics.levels)),
    )
    best = max(attention, key=lambda entry: sign * statistics.fmean(attention[entry].seeds))
    of_controls = {entry: statistics.fmean(one.seeds) for entry, one in controls.items()}
    of_controls |= {name: statistics.fmean(values) for name, values in shortcuts.items()}
    best_control = max(of_controls, key=lambda entry: sign * of_controls[entry])
    differences = _differences(
        sign, attention[best].seeds, controls.get(best_control), of_controls[best_control]
    )
    asked = task.certificate[profile].margin if profile in task.certificate else 0.0
    return CertificateFile(
        task=task.name,
        version=task.version,
        profile=profile,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        reference=reference,
        levels=tuple(one.name for one in example.metrics.levels),
        attention=attention,
        controls=controls,
        shortcuts=shortcuts,
        floors=floors,
        floor_by=floor_by,
        best=best,
        best_control=best_control,
        margin=statistics.fmean(differences),
        interval=_half_width(differences),
        asked=asked,
        origin=Origin.of(one for own in by_entry.values() for one in own),
    )


def _measured(entry: str, records: Sequence[Record], task: TaskCard) -> Measured:
    """What an entry gave at its rate.

    Raises:
        CabError: none of its rates ended well, or a seed at the chosen one did not.
    """
    chosen, _ = at_chosen_rate(records)
    for record in chosen:
        if record.status != "ok":
            raise CabError(
                f"{entry} on {task.name}, seed {record.seed}, ended as {record.status}: "
                f"{record.message} No certificate is written without it."
            )
    seeds = sorted(chosen, key=lambda record: record.seed)
    return Measured(
        rate=rate_of(chosen[0]),
        valid={
            rate_of(one): one.metrics.valid[task.metric].value
            for one in sorted(records, key=rate_of)
            if one.seed == SEARCH_SEED and task.metric in one.metrics.valid
        },
        levels=tuple(_by_level(record, task.metric) for record in seeds),
    )


def _by_level(record: Record, metric: str) -> tuple[float, ...]:
    if record.metrics.levels:
        return tuple(one.test.value for one in record.metrics.levels)
    return (record.metrics.test[metric].value,)


def _shortcuts(record: Record) -> dict[str, tuple[float, ...]]:
    """What each shortcut gives at each level."""
    return {
        name: tuple(at.shortcuts[name].value for at in record.metrics.levels) or (one.value,)
        for name, one in record.shortcuts.items()
    }


def _floors(
    task: TaskCard, sign: float, known: Mapping[str, Sequence[float]], levels: int
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """The floor at each level, and what reaches it."""
    known = dict(known)
    if task.chance is not None:
        known[CHANCE] = (task.chance,) * levels
    by = [max(known, key=lambda name: sign * known[name][level]) for level in range(levels)]
    return tuple(known[name][level] for level, name in enumerate(by)), tuple(by)


def _differences(
    sign: float, best: Sequence[float], control: Measured | None, mean: float
) -> list[float]:
    """Attention minus control, seed by seed; of a shortcut, which has no seeds, its one value."""
    against = (mean,) * len(best) if control is None else control.seeds
    return [sign * (a - b) for a, b in zip(best, against, strict=True)]


def _half_width(differences: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean; one seed gives none."""
    n = len(differences)
    if n < 2:
        return None
    return student_t95(n - 1) * statistics.stdev(differences) / math.sqrt(n)


def certificate_path(folder: Path, task: str, profile: str) -> Path:
    """Where a certificate stands: <folder>/<profile>/<task>.json."""
    return folder / profile / f"{task}.json"
