"""The prose files use plain words: none of those that only CAB's authors understand."""

import re

import pytest
from support import REPOSITORY

PROSE = [
    *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
PRIVATE = (
    r"proofs?",
    r"proved",
    r"standings?",
    r"identity(?! matri)",
    r"providers?",
    r"subjects?",
    r"counting tasks?",
    r"necessity",
    r"joins? the record",
    r"surely",
    r"dearer",
    r"stretched",
    r"embedded default",
    r"causal rectangles?",
    r"told from",
    r"re-runs?",
    r"run again",
    r"efficiency lengths?",
)
"""Words that a reader of another project does not know, or knows in another sense."""


def prose_of(text: str) -> str:
    """Return the text without code, addresses and generated blocks."""
    text = re.sub(r"<!-- (\w+): written by.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


@pytest.mark.parametrize("path", [pytest.param(one, id=one.name) for one in PROSE])
def test_a_prose_file_uses_no_private_word(path) -> None:
    text = prose_of(path.read_text(encoding="utf-8"))
    pattern = re.compile(rf"\b(?:{'|'.join(PRIVATE)})\b", re.IGNORECASE)
    found = [re.sub(r"\s+", " ", one.group()) for one in pattern.finditer(text)]
    assert found == []


def test_private_words_are_found_in_prose_and_not_in_code() -> None:
    words = re.compile(rf"\b(?:{'|'.join(PRIVATE)})\b", re.IGNORECASE)
    assert words.search(prose_of("Nothing is scored before it is proved."))
    assert words.search(prose_of("The standing of a number"))
    assert not words.search(prose_of("`cab necessity X` and an identity matrix"))
    assert not words.search(prose_of("Before\n\n```\nproof\n```\n\nAfter"))
