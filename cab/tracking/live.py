"""The index of records, kept up while cells run."""

import queue
import threading
import time

from cab.errors import CabError
from cab.records.store import Record
from cab.tracking.connection import IndexFailed, Tracking
from cab.tracking.index import Refused, index, refusals

PATIENCE = 120.0
"""Seconds without any progress after which the end of a run waits for MLflow no longer."""


class LiveIndex:
    """Indexes records in a thread of its own while cells run, so that no cell waits for it.

    `start` lets the thread import MLflow and set its database up before the first record.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._progress = threading.Event()
        self._offered = self._indexed = 0
        self._refused: list[Refused] = []
        self._failure = ""

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._work, name="mlflow-index", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Index a record soon."""
        self.start()
        self._offered += 1
        self._queue.put(record)

    def close(self) -> None:
        """Wait until all records are indexed, as long as their number grows."""
        if self._thread is None:
            return
        self._queue.put(None)
        last = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - last < PATIENCE:
            self._thread.join(0.1)
            if self._progress.is_set():
                self._progress.clear()
                last = time.monotonic()
        if self._thread.is_alive():
            self._failure = f"MLflow at {self._tracking.shown} has not answered for {PATIENCE:g} s"

    @property
    def problem(self) -> str:
        """What is missing in the index and how to add it; empty if nothing is."""
        said = []
        if self._failure:
            if self._offered == 0:
                return f"{self._failure}."
            took = f"only {self._indexed} of {self._offered} records"
            if self._indexed == 0:
                took = "no record"
            said.append(
                f"MLflow took {took}: {self._failure}. All records are kept; run `cab index` to "
                "index the rest."
            )
        if self._refused:
            said.append(f"{refusals(self._refused, self._offered)} They are kept in the store.")
        return " ".join(said)

    def _work(self) -> None:
        self._try([])
        ended = False
        while not ended:
            # What came meanwhile goes along: looking up where records belong takes longest.
            records = [self._queue.get()]
            while not self._queue.empty():
                records.append(self._queue.get())
            ended = None in records
            self._try([record for record in records if record is not None])

    def _try(self, records: list[Record]) -> None:
        if self._failure:  # it failed before: do not wait for it again
            return
        before = self._indexed
        try:
            done = index(records, self._tracking, advance=self._progress.set)
        except IndexFailed as error:
            self._indexed, self._failure = before + error.indexed, error.reason
        except CabError as error:  # a failing index must not cost a result
            self._failure = str(error).rstrip(".")
        else:
            self._indexed += done.added + done.replaced + done.present
            self._refused += done.refused
        self._progress.set()
