"""Can the records of a file be what running their cells gave? All that is checked without a rerun.

What needs no training is computed here and compared: the sizes of the model, the operations of
training, the shortcuts and the fingerprint of the examples. For the rest there are bounds, each
such that no honest record exceeds it; `docs/verification.md` lists them.
"""

from collections.abc import Iterator, Sequence

from cab.publishing.costs import cost_problems, data_problems, size_problems, unknown_data
from cab.publishing.levels import level_problems, level_shortcuts
from cab.publishing.measured import (
    item_problems,
    measured_problems,
    unknown_metrics,
)
from cab.publishing.metrics import ROUNDING, metric_of
from cab.publishing.problems import Finding
from cab.publishing.recount import Recount, TaskFacts
from cab.records.parts import Metrics
from cab.records.store import Record
from cab.running.cells import Cell


class Soundness:
    """Checks records against their cells and against the published references.

    Args:
        published: records of the profile, for those of the references.
        references: the names of softmax and none.
        recount: computes what needs no training.
    """

    def __init__(
        self, published: Sequence[Record], references: tuple[str, str], recount: Recount
    ) -> None:
        self._recount = recount
        self._references: dict[tuple[str, int], list[Record]] = {}
        self._at_chance: dict[tuple[str, int], float] = {}
        self._unknown: dict[str, set[str]] = {}
        self._unchecked: dict[str, None] = {}
        for record in published:
            place = record.task.name, record.task.version
            plain = not (record.variant.options or record.settings.changed)
            if record.variant.name not in references or record.status != "ok" or not plain:
                continue
            self._references.setdefault(place, []).append(record)
            if record.variant.name == references[1] and record.curve:
                highest = max(point.loss for point in record.curve)
                self._at_chance[place] = max(highest, self._at_chance.get(place, highest))

    def record(self, record: Record, cell: Cell) -> Iterator[Finding]:
        """Yield what is wrong with a record by itself."""
        if record.evaluations:
            yield (
                "error",
                "it holds evaluations of the trained weights (`cab lm-eval`, `cab probe`), which "
                "no rerun repeats: `cab publish` leaves them out",
            )
        for text in cost_problems(record, cell):
            yield "error", text
        if record.status == "ok":
            place = record.task.name, record.task.version
            for text in (
                *measured_problems(record, cell, self._at_chance.get(place)),
                *level_problems(record, cell),
            ):
                yield "error", text
            if names := unknown_metrics(record):
                yield "look", f"no range is known of {', '.join(names)} (cab/scores/ranges.py)"
            if record.message:
                yield "error", "it ended well and has a message all the same"
        else:
            if record.metrics != Metrics() or record.shortcuts:
                yield "error", f"it ended as {record.status} and has results all the same"
            yield (
                "look",
                f"seed {record.seed} on {record.task.name} ended as {record.status}: "
                f"{record.message}",
            )
        yield from self._computed(record, cell)

    def together(self) -> Iterator[Finding]:
        """Yield what the records seen so far leave open, each once."""
        for text in self._unchecked:
            yield "look", text
        for kind, names in self._unknown.items():
            yield (
                "look",
                f"its examples of {', '.join(sorted(names))} are not known from elsewhere: no "
                f"reference is published that ran on {kind}",
            )

    def _computed(self, record: Record, cell: Cell) -> Iterator[Finding]:
        """Compare with what is computed here, where the task's data is at hand."""
        absent = self._recount.absent(cell)
        facts = None
        if absent:
            text = f"sizes, data and shortcuts on {cell.task.name} are unchecked: {absent}"
            self._unchecked[text] = None
        else:
            facts = self._recount.task(cell)
            try:
                model = self._recount.model(cell)
            except Exception as error:  # the variant may raise anything
                yield "error", f"its model cannot be built here: {type(error).__name__}: {error}"
            else:
                for text in size_problems(record, model):
                    yield "error", text
        if record.status != "ok":
            return
        references = self._references.get((record.task.name, record.task.version), ())
        for text in data_problems(record, references, facts):
            yield "error", text
        if unknown_data(record, references, facts):
            self._unknown.setdefault(record.environment.cpu, set()).add(record.task.name)
        if facts is not None:
            for text in (
                *item_problems(record, facts),
                *level_shortcuts(record, facts),
                *_lengths(record, facts),
            ):
                yield "error", text


def _lengths(record: Record, facts: TaskFacts) -> Iterator[str]:
    said = {one.factor: one for one in record.metrics.lengths}
    if len(said) != len(record.metrics.lengths) or (said and not facts.lengths):
        yield "it has results at lengths that the task does not have, or has one twice"
        return
    if facts.lengths and 1.0 not in said:
        yield "it lacks the results at other lengths"
    metric = metric_of(record.task.metric)
    for factor, one in said.items():
        where = f"at {factor:g} times the length"
        length, count = facts.lengths.get(factor, (one.length, None))
        if one.length != length:
            yield f"{where} it has {one.length} tokens; the task has {length}"
        if one.estimate is not None:
            if not metric.possible(one.estimate.value):
                yield f"{where} {record.task.metric} is {one.estimate.value:.6g}: out of range"
            elif one.estimate.standard_error > ROUNDING + 1.01 * metric.largest_error(
                one.estimate.value, one.estimate.n
            ):
                yield f"{where} its standard error is larger than any examples can have"
            if count is not None and one.estimate.n != count:
                yield f"{where} it has {one.estimate.n} examples; the task has {count}"
        tested = record.metrics.test.get(record.task.metric)
        if record.metrics.levels:
            tested = record.metrics.levels[-1].test
        if factor == 1 and one.estimate != tested:
            yield f"{where} it has another result than on the test"
        if any(
            part.nats < 0 or not 0 <= part.first <= part.last < length for part in one.positions
        ):
            yield f"{where} it has losses that are negative or of positions that are not there"
