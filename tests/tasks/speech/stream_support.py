"""Reading streams back into recordings, by their tokens alone."""

import os
from pathlib import Path

import pytest
from torch import Tensor

from cab.registry import discover_tasks

TASKS = discover_tasks()
DATA = os.environ.get("CAB_DATA")


def make(name):
    """The quick task; without its data the test is skipped."""
    if TASKS.card(name).data and DATA is None:
        pytest.skip(f"{name} needs real data: set CAB_DATA")
    task = TASKS.load(name)
    return task(task.recipes["quick"], Path(DATA) if DATA else None)


class Reader:
    """Finds which recordings of a split a stream was joined from."""

    def __init__(self, recordings):
        self.recordings = recordings
        self.starts = {}
        for row, (tokens, length) in enumerate(
            zip(recordings.tokens, recordings.lengths.tolist(), strict=True)
        ):
            key = tokens[0].numpy().tobytes()
            self.starts.setdefault(key, []).append((row, tokens[:length]))

    def read(self, tokens: Tensor):
        """Return (recording, first token, token after the last) of each word of a stream."""
        found, place = [], 0
        while place < len(tokens):
            fitting = [
                (row, place + len(said))
                for row, said in self.starts.get(tokens[place].numpy().tobytes(), [])
                if tokens[place : place + len(said)].equal(said)
            ]
            assert len(fitting) == 1, "a stream holds whole recordings of its split, no others"
            ((row, end),) = fitting
            found.append((row, place, end))
            place = end
        return found
