"""A record as an MLflow run: what it is searched by, its parameters, its numbers, its artifact."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cab.records.store import Record

KEY_TAG, DIGEST_TAG, PARENT_TAG = "cab.key", "cab.record", "mlflow.parentRunId"
METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100
"""MLflow's limits of one call."""


def write_run(client: Any, record: Record, experiment: str, more: Mapping[str, str]) -> None:
    """Make the run of a record, with tags beside its own, such as its parent's."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    ended = milliseconds(record.provenance.ended)
    run = client.create_run(
        experiment,
        start_time=milliseconds(record.provenance.started),
        run_name=f"{record.variant.name} seed {record.seed}",
        tags={**tags(record), **more},
    )
    run_id = run.info.run_id
    numbers = [Metric(name, value, ended, step) for name, value, step in metrics(record)]
    for start in range(0, len(numbers), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=numbers[start : start + METRICS_AT_ONCE])
    settings = [Param(name, str(value)[:6000]) for name, value in params(record).items()]
    for start in range(0, len(settings), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=settings[start : start + PARAMS_AT_ONCE])
    if record.task.data_fingerprint is not None:
        dataset = Dataset(
            name=f"{record.task.name} v{record.task.version}",
            digest=record.task.data_fingerprint[:36],
            source_type="cab",
            source=record.task.name,
        )
        used = DatasetInput(dataset, [InputTag("mlflow.data.context", "test")])
        client.log_inputs(run_id, [used])
    client.log_text(run_id, record.to_json(), "record.json")
    status = "FINISHED" if record.status == "ok" else "FAILED"
    client.set_terminated(run_id, status=status, end_time=ended)


def digest(record: Record) -> str:
    """Hash a record's text, to see whether it changed."""
    return hashlib.sha256(record.to_json().encode()).hexdigest()


def milliseconds(moment: datetime) -> int:
    """A moment as MLflow keeps it."""
    return int(moment.timestamp() * 1000)


def tags(record: Record) -> dict[str, str]:
    """What a run is searched by."""
    found = {
        KEY_TAG: record.key,
        DIGEST_TAG: digest(record),
        "cab.variant": record.variant.name,
        "cab.variant_hash": record.variant.source_hash,
        "cab.task": record.task.name,
        "cab.task_version": str(record.task.version),
        "cab.profile": record.task.profile,
        "cab.pattern": record.task.pattern,
        "cab.domain": record.task.domain,
        "cab.seed": str(record.seed),
        "cab.status": record.status,
        "cab.device": record.environment.device,
        "cab.accelerator": record.environment.accelerator,
        "cab.git": record.provenance.git_revision or "",
    }
    if record.message:
        found["cab.message"] = record.message[:5000]
    return found


def params(record: Record) -> dict[str, Any]:
    """The settings, flattened: variant.window, recipe.train.steps, seed ..."""
    settings = {
        "variant": {"name": record.variant.name, **record.variant.config},
        "recipe": record.settings.recipe,
        "seed": record.seed,
    }
    return dict(_flatten(settings, ""))


def _flatten(values: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def metrics(record: Record) -> Iterator[tuple[str, float, int]]:
    """Every number of a record, as (name, value, step)."""
    for point in record.curve:
        yield "train_loss", point.loss, point.step
        for name, value in point.valid.items():
            yield f"valid_{name}", value, point.step
    last = record.cost.steps or 0
    for name, estimate in record.metrics.test.items():
        yield f"test_{name}", estimate.value, last
        yield f"test_{name}_standard_error", estimate.standard_error, last
    for reached in record.metrics.lengths:
        if reached.estimate is not None:
            name = f"test_{record.task.metric}_at_{reached.factor:g}x"
            yield name, reached.estimate.value, last
    for name, estimate in record.shortcuts.items():
        yield f"shortcut_{name}", estimate.value, last
    for one in record.evaluations:
        yield f"evaluation_{one.task}_{_plain(one.metric)}", one.value, last
    for name, number in record.cost.model_dump(exclude_none=True).items():
        yield f"cost_{name}", float(number), last


def _plain(name: str) -> str:
    """A name of letters that MLflow takes."""
    return re.sub(r"[^\w./-]+", "_", name).strip("_")
