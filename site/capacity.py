"""Recall against the size of the decode state, from the published records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cab.records.store import Record
from cab.scores.estimates import Estimated, mean_over_seeds
from cab.scores.ranges import metric_range
from cab.site import plots
from cab.site.content import Content, ProfileContent, by_entry
from cab.site.formulas import decode_state
from cab.taxonomy import Domain, Pattern, TaskCard, VariantCard

BYTES = 4
"""Of an element in float32."""


@dataclass(frozen=True)
class CapacityRow:
    """An entry on a recall task: bytes of its decode state, and its metric at the top level."""

    entry: str
    variant: str
    family: str
    size: float
    mean: Estimated
    values: tuple[float, ...]


def capacity(content: Content, one: ProfileContent) -> dict[str, Any]:
    """A figure and a table for each scored recall task whose network decodes token by token."""
    tasks = [
        card
        for name, card in content.tasks.items()
        if name in one.board.scales
        and card.domain == Domain.RETRIEVAL
        and card.pattern == Pattern.CS
        and card.backbone == "decoder"
    ]
    return {"capacities": [found for card in tasks if (found := _of_task(content, one, card))]}


def _of_task(content: Content, one: ProfileContent, card: TaskCard) -> dict[str, Any] | None:
    found = [
        (entry, own[0], mean_at_top(entry, own))
        for entry, task, own in by_entry(
            record
            for record in one.records.values()
            if record.key in one.on_board and record.status == "ok"
        )
        if task == card.name
    ]
    rows = [
        CapacityRow(
            entry,
            record.variant.name,
            content.family(record.variant.name),
            size,
            mean,
            values,
        )
        for entry, record, (mean, values) in found
        if (size := state_bytes(record, content.variants, content.reference))
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: (row.size, row.entry))
    best = plots.front([(row.entry, row.size, row.mean.point) for row in rows])
    points = [
        plots.Point(
            row.entry, row.family, row.size, row.mean.point, row.mean.interval(), row.entry in best
        )
        for row in rows
    ]
    levels = found[0][1].metrics.levels
    level = levels[-1].name if levels else ""
    sizes = sizes_of(found[0][1].settings.recipe)
    length = sizes.length if sizes else 0
    label = f"bytes of decode state after {length:,} tokens, float32"
    metric = f"{card.metric.replace('_', ' ')} at {level}" if level else card.metric
    words = (f"{card.name}: {metric} against {label}", "Each value is in the table below.")
    without = next((m.point for _, r, (m, _) in found if r.variant.name == content.zero), None)
    drawing = plots.scatter(f"capacity-{card.name}", points, label, without, words, height=metric)
    return {
        "card": card,
        "level": level,
        "length": length,
        "rows": rows,
        "front": best,
        "without": without,
        "drawing": Markup(drawing),
    }


def mean_at_top(entry: str, records: Sequence[Record]) -> tuple[Estimated, tuple[float, ...]]:
    """The mean over seeds of the task's metric at the hardest level, and each seed's value."""
    task = records[0].task
    values = tuple(
        record.metrics.levels[-1].test.value
        if record.metrics.levels
        else record.metrics.test[task.metric].value
        for record in records
    )
    return mean_over_seeds(task.name, entry, values, metric_range(task.metric)), values


@dataclass(frozen=True)
class Sizes:
    """What of a network decides how large its decode state is; length is that of the top level."""

    heads: int
    dim: int
    layers: int
    hybrid: int
    length: int


def sizes_of(recipe: Mapping[str, Any]) -> Sizes | None:
    """The sizes that a recipe gives; None if it lacks one of them.

    The top level is the last of `levels`, which is `data`. Where the data names no length, it is
    the longest sequence of the network.
    """
    try:
        data, model = recipe["data"], recipe["model"]
        width = model["width"]
        numbers = [width["heads"], width["dim"], width["layers"]]
        numbers += [width["hybrid"], data.get("length", model["length"])]
    except (KeyError, TypeError, AttributeError):
        return None
    if not all(type(one) is int and one >= 0 for one in numbers):
        return None
    found = Sizes(*numbers)
    return found if found.heads and found.layers and found.length else None


def state_bytes(
    record: Record, variants: Mapping[str, VariantCard], reference: str
) -> float | None:
    """Bytes of the decode state of all attention layers after the top level's tokens, in float32.

    Computed from the formulas of the cards, which a law compares with the tensors. Masks, and the
    tokens that the network's short convolution keeps, are left out. In a hybrid every (k + 1)-th
    layer is the reference. None of an entry without a formula, or one that its settings do not
    fill.
    """
    sizes, card = sizes_of(record.settings.recipe), variants.get(record.variant.name)
    if sizes is None or card is None:
        return None
    shape = sizes.length, sizes.heads, sizes.dim
    others = sizes.layers // (sizes.hybrid + 1) if sizes.hybrid else 0
    own = decode_state(card, record.variant.config, *shape)
    beside = decode_state(variants[reference], {}, *shape) if others else 0.0
    if own is None or beside is None:
        return None
    return BYTES * sizes.heads * ((sizes.layers - others) * own + others * beside)
