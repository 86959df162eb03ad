"""The README says what the cards say."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "golden"))

from readme import BEGIN, README, written


def test_the_table_of_tasks_is_that_of_the_cards():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1
    assert written(text) == text, "Run tests/golden/readme.py."
