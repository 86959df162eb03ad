"""The README says what the cards and the published results say."""

import sys

from support import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "golden"))

from readme import BLOCKS, README, marks, written


def test_the_tables_are_those_of_the_cards_and_of_the_results():
    text = README.read_text(encoding="utf-8")
    for name in BLOCKS:
        assert [text.count(mark) for mark in marks(name)] == [1, 1], name
    assert written(text) == text, "Run tests/golden/readme.py."
