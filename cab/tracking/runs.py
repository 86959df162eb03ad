"""A record as an MLflow run: what it is searched by, its parameters, its numbers, its artifact."""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cab.records.evaluations import identity, told
from cab.records.store import Record
from cab.records.text import tidy
from cab.tracking.names import Limits, cut, distinct, lasting

KEY_TAG, DIGEST_TAG, PARENT_TAG = "cab.key", "cab.record", "mlflow.parentRunId"

_LARGEST = 2**63 - 1


def write_run(client: Any, record: Record, experiment: str, more: Mapping[str, str]) -> None:
    """Make the run of a record, with tags beside its own, such as its parent's.

    If MLflow refuses a part of it, the run is deleted, as far as MLflow still answers.
    """
    limits = Limits.of_mlflow()
    run = client.create_run(
        experiment,
        start_time=milliseconds(record.provenance.started),
        run_name=cut(f"{record.variant.name} seed {record.seed}", limits.name),
        tags={**tags(record, limits), **more},
    )
    try:
        _fill(client, run.info.run_id, record, limits)
    except BaseException:
        # If this fails too the run stays without an end, and the next index deletes it.
        with contextlib.suppress(Exception):
            client.delete_run(run.info.run_id)
        raise


def _fill(client: Any, run_id: str, record: Record, limits: Limits) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    ended = milliseconds(record.provenance.ended)
    numbers = [
        Metric(name, value, ended, step) for name, value, step in metrics(record, limits.name)
    ]
    for batch in _batches(numbers, limits.metrics_at_once, limits.request):
        client.log_batch(run_id, metrics=batch)
    settings = [Param(name, value) for name, value in params(record, limits).items()]
    for batch in _batches(settings, limits.params_at_once, limits.request):
        client.log_batch(run_id, params=batch)
    if record.task.data_fingerprint is not None:
        dataset = Dataset(
            name=cut(f"{record.task.name} v{record.task.version}", limits.dataset),
            digest=tidy(record.task.data_fingerprint)[: limits.digest],
            source_type="cab",
            source=cut(record.task.name, limits.dataset),
        )
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", "test")])
        client.log_inputs(run_id, [used])
    client.log_text(run_id, record.to_json(), "record.json")
    status = "FINISHED" if record.status == "ok" else "FAILED"
    client.set_terminated(run_id, status=status, end_time=ended)


def _batches(entries: Sequence[Any], most: int, size: int) -> Iterator[list[Any]]:
    """Split metrics or parameters into requests of so many entries and bytes at most."""
    batch: list[Any] = []
    room = size // 2  # the other half is for the field names around each entry
    for entry in entries:
        needed = len(json.dumps([entry.key, entry.value]))
        if batch and (len(batch) == most or needed > room):
            yield batch
            batch, room = [], size // 2
        batch.append(entry)
        room -= needed
    if batch:
        yield batch


def digest(record: Record) -> str:
    """Hash a record's text, to see whether it changed."""
    return hashlib.sha256(record.to_json().encode()).hexdigest()


def milliseconds(moment: datetime) -> int:
    """A moment as MLflow keeps it: after 1970, and UTC where no zone is given."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(1, int(moment.timestamp() * 1000))


def tags(record: Record, limits: Limits) -> dict[str, str]:
    """What a run is searched by."""
    found = {
        KEY_TAG: record.key,
        DIGEST_TAG: digest(record),
        "cab.variant": record.variant.name,
        "cab.variant_hash": record.variant.source_hash,
        "cab.task": record.task.name,
        "cab.task_version": _text(record.task.version),
        "cab.profile": record.task.profile,
        "cab.pattern": record.task.pattern,
        "cab.domain": record.task.domain,
        "cab.seed": _text(record.seed),
        "cab.status": record.status,
        "cab.device": record.environment.device,
        "cab.accelerator": record.environment.accelerator,
        "cab.git": record.provenance.git_revision or "",
    }
    if record.message:
        found["cab.message"] = record.message
    return {name: cut(value, limits.tag) for name, value in found.items()}


def params(record: Record, limits: Limits) -> dict[str, str]:
    """The settings, flattened: variant.window, recipe.train.steps, seed ..."""
    # As the record's file has them: lists and tuples are one there.
    settings = {
        "variant": {
            "name": record.variant.name,
            **record.variant.model_dump(mode="json")["config"],
        },
        "recipe": record.settings.model_dump(mode="json")["recipe"],
        "seed": record.seed,
    }
    found = dict(_flatten(settings, ()))
    names = distinct(((path, ".".join(path)) for path in found), limits.name)
    return {
        names[path]: cut(_text(_sorted_within(value)), limits.param)
        for path, value in found.items()
    }


def _flatten(values: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    for name, value in values.items():
        path = (*above, _text(name))
        if isinstance(value, Mapping):
            yield from _flatten(value, path)
        else:
            yield path, value


def _sorted_within(value: Any) -> Any:
    """The same with mappings in lists sorted by key, as in the record's file."""
    if isinstance(value, Mapping):
        return {key: _sorted_within(value[key]) for key in sorted(value)}
    return [_sorted_within(one) for one in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"a {type(value).__name__} that is too long to write"


def metrics(record: Record, limit: int = Limits.name) -> Iterator[tuple[str, float, int]]:
    """Every number of a record that a double can hold, as (name, value, step)."""
    numbers = list(_numbers(record))
    names = distinct(((thing, _name(thing)) for thing, _, _ in numbers), limit)
    for thing, value, step in numbers:
        try:
            number = float(value)
        except OverflowError:
            continue
        if math.isfinite(number):
            yield names[thing], number, max(-_LARGEST, min(step, _LARGEST))


def _name(thing: tuple[Hashable, ...]) -> str:
    return "_".join(part for part in thing if isinstance(part, str))


def _numbers(record: Record) -> Iterator[tuple[tuple[Hashable, ...], float, int]]:
    """Every number as (thing, value, step): the texts among the parts of a thing make its name."""
    for point in record.curve:
        yield ("train", "loss"), point.loss, point.step
        for name, value in point.valid.items():
            yield ("valid", name), value, point.step
    last = record.cost.steps or 0
    for name, estimate in record.metrics.test.items():
        yield ("test", name), estimate.value, last
        yield ("test", name, "standard_error"), estimate.standard_error, last
    for one in record.metrics.levels:
        yield ("test", record.task.metric, f"level_{one.level}"), one.test.value, last
    for reached in record.metrics.lengths:
        if reached.estimate is not None:
            at = f"at_{reached.factor:g}x"
            thing = ("test", record.task.metric, at, reached.factor, reached.length)
            yield thing, reached.estimate.value, last
    for name, estimate in record.shortcuts.items():
        yield ("shortcut", name), estimate.value, last
    for found in record.evaluations:
        # The settings are in the name, so that it is the same in all runs, and of these only.
        words = re.sub(r"[\s,]+", "_", f"evaluation_{found.task}_{found.metric} {told(found)}")
        parts = (*identity(found), found.task_version)
        yield (lasting(words.strip("_")), parts), found.value, last
    for name, number in record.cost.model_dump(exclude_none=True).items():
        yield ("cost", name), number, last
