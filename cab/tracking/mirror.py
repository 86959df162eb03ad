"""The runs of one store in MLflow: found, made, replaced and removed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cab.records.store import Record
from cab.tracking.connection import Tracking, connect, is_general
from cab.tracking.names import Limits, cut, lasting
from cab.tracking.runs import DIGEST_TAG, KEY_TAG, PARENT_TAG, digest, milliseconds, write_run

INVOCATION_TAG, COMMAND_TAG, SOURCE_TAG = "cab.invocation", "cab.command", "cab.source"
_OURS = "cab/"
_FOLDER_NAME = 60
"""Characters of a folder's name: 255 bytes hold as many of any script."""

_Command = tuple[str, str]


def _command(record: Record) -> _Command:
    """What a parent run stands for: one command's cells of one experiment."""
    profile = lasting(record.task.profile, _FOLDER_NAME)
    task = lasting(record.task.name, _FOLDER_NAME)
    return f"{_OURS}{profile}/{task}", lasting(record.provenance.invocation)


@dataclass
class Mirror:
    """The part of an MLflow index that mirrors one store.

    Attributes:
        complete: all records of the store are at hand, so runs of others are wrong.
        parents: (experiment, run) of each command, or why MLflow refused to make them.
    """

    client: Any
    marks: dict[str, str]
    artifacts: Path | None
    complete: bool
    parents: dict[_Command, tuple[str, str] | Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, tracking: Tracking, complete: bool) -> "Mirror":
        """Open the index."""
        client = connect(tracking)
        artifacts = tracking.artifacts if tracking.local else None
        return cls(client, tracking.marks(), artifacts, complete)

    @property
    def _own(self) -> str:
        return "".join(f" and tags.`{tag}` = '{value}'" for tag, value in self.marks.items())

    def check(self) -> None:
        """Read and write something; what MLflow raises says that it refuses not just a record."""
        ours = f"name LIKE '{_OURS}%'"
        for one in self.client.search_experiments(max_results=1, filter_string=ours):
            self.client.set_experiment_tag(one.experiment_id, SOURCE_TAG, "cab index")

    def find(self, key: str = "") -> dict[str, Any]:
        """The finished runs of cells, or of one cell; half-written ones are deleted on the way."""
        runs: dict[str, Any] = {}
        condition = f"= '{key}'" if key else "!= ''"
        for run in list(self._runs(f"tags.`{KEY_TAG}` {condition}{self._own}")):
            name = run.data.tags[KEY_TAG]
            if run.info.end_time is None or name in runs:
                self._delete(run)
            else:
                runs[name] = run
        return runs

    def sync_run(self, record: Record, old: Any | None) -> Literal["added", "replaced", "present"]:
        """Make the run of a record agree with it."""
        made = self.parents[_command(record)]
        if isinstance(made, Exception):
            raise made
        experiment, parent = made
        if old is not None and old.data.tags.get(DIGEST_TAG) == digest(record):
            if old.data.tags.get(PARENT_TAG) != parent:
                self.client.set_tag(old.info.run_id, PARENT_TAG, parent)
            return "present"
        if old is not None:
            self._delete(old)
        write_run(self.client, record, experiment, {**self.marks, PARENT_TAG: parent})
        return "added" if old is None else "replaced"

    def sync_parents(self, records: Sequence[Record]) -> None:
        """Make each command's run span its records.

        With all records at hand, a run that spans others is made anew, and one of none is deleted.
        """
        grouped: dict[_Command, list[Record]] = defaultdict(list)
        for record in records:
            grouped[_command(record)].append(record)
        condition = f"tags.`{INVOCATION_TAG}` != ''"
        invocations = {invocation for _, invocation in grouped}
        if not self.complete and len(invocations) == 1:
            condition = f"tags.`{INVOCATION_TAG}` = '{invocations.pop()}'"
        there: dict[_Command, Any] = {}
        for run in list(self._runs(condition + self._own)) if records or self.complete else ():
            place = run.info.experiment_id, run.data.tags[INVOCATION_TAG]
            if place in there and self.complete:
                self._delete(run)  # made twice, because the answer to the first request was lost
            else:
                there.setdefault(place, run)
        for command, its in grouped.items():
            name, invocation = command
            try:
                experiment = self._experiment(name)
                old = there.pop((experiment, invocation), None)
                parent = self._sync_parent(experiment, invocation, its, old)
                self.parents[command] = (experiment, parent)
            except Exception as error:  # if MLflow still works, only its records are refused
                if is_general(error):
                    raise
                self.check()
                self.parents[command] = error
        if self.complete:
            for run in there.values():
                if run.info.end_time is not None:  # an open one is closed, by `close_open_runs`
                    self._delete(run)

    def remove(self, runs: Sequence[Any]) -> None:
        """Delete the runs of records that are gone."""
        for run in runs:
            self._delete(run)

    def close_open_runs(self) -> None:
        """End what a killed process left open: commands are closed, runs of nothing deleted."""
        for run in list(self._runs(f"attributes.status = 'RUNNING'{self._own}")):
            if INVOCATION_TAG in run.data.tags:
                self.client.set_terminated(run.info.run_id, status="KILLED")
        if self.marks:
            return  # on a shared server a run without a mark may be anybody's
        for run in list(self._runs("attributes.status = 'RUNNING'", _OURS)):
            if not {KEY_TAG, INVOCATION_TAG} & run.data.tags.keys():
                self._delete(run)

    def _runs(self, condition: str, prefix: str = "") -> Iterator[Any]:
        experiments = [
            one.experiment_id
            for one in self.client.search_experiments()
            if one.name.startswith(prefix)
        ]
        token = None
        while experiments:
            page = self.client.search_runs(
                experiments, condition, max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _delete(self, run: Any) -> None:
        self.client.delete_run(run.info.run_id)

    def _sync_parent(
        self, experiment: str, invocation: str, records: Sequence[Record], old: Any | None
    ) -> str:
        started = min(milliseconds(record.provenance.started) for record in records)
        ended = max(milliseconds(record.provenance.ended) for record in records)
        if old is not None and (
            not self.complete or (old.info.start_time, old.info.end_time) == (started, ended)
        ):
            if ended > (old.info.end_time or 0):
                self.client.set_terminated(old.info.run_id, end_time=ended)
            return str(old.info.run_id)
        if old is not None:
            self._delete(old)
        command = records[0].provenance.command
        limits = Limits.of_mlflow()
        run = self.client.create_run(
            experiment,
            start_time=started,
            run_name=cut(command, min(200, limits.name)),
            tags={
                INVOCATION_TAG: invocation,
                COMMAND_TAG: cut(command, limits.tag),
                **self.marks,
            },
        )
        self.client.set_terminated(run.info.run_id, end_time=ended)
        return str(run.info.run_id)

    def _experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            location = None
            if self.artifacts is not None:
                location = (self.artifacts / name.removeprefix(_OURS)).as_uri()
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except Exception:
                # Another store's index may have made it in between: then it is there now.
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)
