"""Texts of strangers: what is printed and stored holds nothing that acts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cab.records.text import CUT, clean, is_safe, one_line, tidy

ANY = st.text(st.characters(), max_size=80)


@given(ANY)
def test_a_tidy_text_is_safe_and_as_long_and_says_the_rest_as_before(text: str) -> None:
    tidied = tidy(text)
    assert is_safe(tidied)
    assert len(tidied) == len(text)
    assert tidy(tidied) == tidied
    assert (tidied == text) == is_safe(text)
    kept = [(a, b) for a, b in zip(text, tidied, strict=True) if b != "\ufffd"]
    assert all(a == b for a, b in kept)
    tidied.encode()


@given(ANY, st.integers(len(CUT), 60))
def test_a_clean_text_is_safe_and_no_longer_than_allowed(text: str, limit: int) -> None:
    found = clean(text, limit)
    assert is_safe(found)
    assert len(found) <= limit
    assert found == tidy(text.replace("\r\n", "\n")) or found.endswith(CUT)


@pytest.mark.parametrize(
    "text",
    [
        *map(chr, (*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0))),
        *("\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\ud800", "\U000e0041"),
    ],
)
def test_what_acts_on_a_terminal_or_cannot_be_seen_is_not_safe(text: str) -> None:
    assert not is_safe(f"a{text}b")
    assert tidy(f"a{text}b") == "a\ufffdb"
    assert one_line(f"a{text}b") in ("a\ufffdb", "a")


@pytest.mark.parametrize("text", ["a b", "\n", "\t", "å ∞ 🙂", "e\u0301", "± 95 %", "\u00a0", ""])
def test_words_of_any_script_are_safe(text: str) -> None:
    assert is_safe(text)
    assert tidy(text) == text
