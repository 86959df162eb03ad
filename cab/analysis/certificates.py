"""Certificates: measurements which show that a task's score depends on attention.

A certificate compares the reference with every control under the same recipe, seed by seed. A
task whose margin over its best control is not above what its card asks, by more than the
interval, is shown as diagnostic and not scored.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cab.errors import CabError
from cab.profiles import Profile
from cab.records.store import Record
from cab.registry import Registry, name_of_role
from cab.running.cells import Cell, Request, plan
from cab.scores.summary import entry_label, student_t95
from cab.taxonomy import TaskCard, VariantCard


@dataclass(frozen=True)
class CertificateFile:
    """What the reference and the controls reached, and the margin between.

    values holds the test mean of each seed, per entry; shortcuts need no training and no seed.
    margin is reference minus best control, oriented so that more is better, averaged over seeds;
    interval its 95 % half-width, by Student's t over the seeds' own differences.
    """

    task: str
    version: int
    profile: str
    metric: str
    higher_is_better: bool
    reference: str
    values: Mapping[str, tuple[float, ...]]
    shortcuts: Mapping[str, float]
    best_control: str
    margin: float
    interval: float | None
    asked: float

    @property
    def holds(self) -> bool:
        """Whether the margin is above what is asked by more than its interval."""
        return self.interval is not None and self.margin - self.interval > self.asked

    def to_json(self) -> str:
        """The canonical text: sorted keys, six digits, a final newline."""
        content = {
            "task": self.task,
            "version": self.version,
            "profile": self.profile,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "reference": self.reference,
            "seeds": len(self.values[self.reference]),
            "values": {k: [round(v, 6) for v in vs] for k, vs in self.values.items()},
            "shortcuts": {name: round(value, 6) for name, value in self.shortcuts.items()},
            "best_control": self.best_control,
            "margin": round(self.margin, 6),
            "interval": None if self.interval is None else round(self.interval, 6),
            "asked": self.asked,
            "holds": self.holds,
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
    """The cells of a certificate: the reference, no mixing, the controls, those of the card."""
    rows: list[tuple[str, Mapping[str, str]]] = [(name_of_role(variants, "reference"), {})]
    rows += [
        (card.name, {}) for card in variants.cards() if card.role in ("no_attention", "control")
    ]
    rows += [(name, {k: str(v) for k, v in o.items()}) for name, o in task.controls.items()]
    cells: list[Cell] = []
    for name, options in rows:
        if task.pattern in variants.card(name).patterns:
            request = Request(
                [name], profile, seeds, [task.name], options=options, include=include
            )
            cells.extend(plan(request, variants, tasks).cells)
    return tuple(cells)


def certify(
    task: TaskCard, profile: str, reference: str, records: Iterable[Record]
) -> CertificateFile:
    """Compute the certificate from the records of `control_cells`.

    Raises:
        CabError: a cell has no result, so there is nothing to compare.
    """
    by_entry: dict[str, dict[int, float]] = {}
    shortcuts: dict[str, float] = {}
    for record in records:
        if record.status != "ok":
            raise CabError(
                f"{entry_label(record)} on {task.name}, seed {record.seed}, ended as "
                f"{record.status}: {record.message} No certificate is written without it."
            )
        value = record.metrics.test[task.metric].value
        by_entry.setdefault(entry_label(record), {})[record.seed] = value
        if record.variant.name == reference:
            shortcuts = {name: one.value for name, one in record.shortcuts.items()}
    values = {
        entry: tuple(by_entry[entry][s] for s in sorted(by_entry[entry])) for entry in by_entry
    }
    sign = 1.0 if task.higher_is_better else -1.0
    controls = {entry: statistics.fmean(vs) for entry, vs in values.items() if entry != reference}
    controls |= shortcuts
    best = max(controls, key=lambda entry: sign * controls[entry])
    against = values.get(best, (controls[best],) * len(values[reference]))
    differences = [sign * (a - b) for a, b in zip(values[reference], against, strict=True)]
    asked = task.certificate[profile].margin if profile in task.certificate else 0.0
    return CertificateFile(
        task=task.name,
        version=task.version,
        profile=profile,
        metric=task.metric,
        higher_is_better=task.higher_is_better,
        reference=reference,
        values=values,
        shortcuts=shortcuts,
        best_control=best,
        margin=statistics.fmean(differences),
        interval=_half_width(differences),
        asked=asked,
    )


def _half_width(differences: Sequence[float]) -> float | None:
    """Half of the 95 % interval of a mean; one seed gives none."""
    n = len(differences)
    if n < 2:
        return None
    return student_t95(n - 1) * statistics.stdev(differences) / math.sqrt(n)


def certificate_path(folder: Path, task: str, profile: str) -> Path:
    """Where a certificate stands: <folder>/<profile>/<task>.json."""
    return folder / profile / f"{task}.json"


def read_certificate(path: Path) -> dict[str, Any]:
    """The content of a certificate's file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
