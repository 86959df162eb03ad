"""The index of records, kept up while cells run."""

import queue
import threading

from cab.errors import CabError
from cab.records.store import Record
from cab.tracking.index import Tracking, index


class LiveIndex:
    """Indexes records in a thread of its own while cells run, so that no cell waits for it.

    `start` lets the thread import MLflow and set its database up before the first record.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.problem = ""

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._work, name="mlflow-index", daemon=True)
        self._thread.start()

    def add(self, record: Record) -> None:
        """Index a record soon."""
        self.start()
        self._queue.put(record)

    def close(self) -> None:
        """Wait until all records are indexed."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        self._try([])
        while (record := self._queue.get()) is not None:
            # What came meanwhile goes along: looking up where records belong takes the longest.
            records = [record]
            while not self._queue.empty() and (record := self._queue.get()) is not None:
                records.append(record)
            self._try(records)
            if record is None:
                return

    def _try(self, records: list[Record]) -> None:
        if self.problem:  # it failed before: do not wait for it again
            return
        try:
            index(records, self._tracking)
        except CabError as error:  # a failing index must not cost a result
            self.problem = str(error)
