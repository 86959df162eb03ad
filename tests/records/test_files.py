"""Files that several processes write, whole or not at all."""

import os
import threading
import time
from pathlib import Path

from cab.errors import CabError
from cab.records.files import alone


def test_one_alone_writes_even_while_locks_come_and_go(tmp_path: Path) -> None:
    # The lock's file is removed while others open it; a lock on a removed file counts for nothing.
    path, mark = tmp_path / "results.jsonl", tmp_path / "mark"
    turns: list[int] = []
    problems: list[BaseException] = []
    end = time.monotonic() + 3

    def writer() -> None:
        while time.monotonic() < end:
            try:
                with alone(path, "cab publish"):
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails beside another
                    turns.append(1)
                    mark.unlink()
            except CabError:
                continue
            except BaseException as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=writer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(turns) > 20
    assert list(tmp_path.iterdir()) == []
