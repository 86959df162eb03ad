"""CAB's own words are explained on the site as in the README."""

from html import escape
from pathlib import Path

from cab.site.glossary import GLOSSARY


def test_the_method_page_explains_every_word(site: Path) -> None:
    page = (site / "method.html").read_text(encoding="utf-8")
    for word, definition in GLOSSARY:
        assert f"<dt>{word}</dt><dd>{escape(definition)}.</dd>" in page, word


def test_the_glossary_is_short_and_each_entry_one_sentence() -> None:
    words = [word for word, _ in GLOSSARY]
    assert len(words) == len(set(words)) <= 10
    for word, definition in GLOSSARY:
        assert definition, word
        assert not definition.endswith("."), word
        assert ". " not in definition, word
