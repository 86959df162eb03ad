"""The pages and the tables of the terminal use plain words: none that only CAB's authors know."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cli_support import cab_here
from made_records import VARIANTS
from private_words import PRIVATE
from support import REPOSITORY

from cab.records.folders import results_folders
from cab.site.build import build_site

WORDS = re.compile(
    rf"\b(?:{'|'.join((*PRIVATE, 'told apart', 'counts?', 'counting'))})\b", re.IGNORECASE
)
"""A task is scored; to say that it counts would be another word for the same."""
ROLES = re.compile(r"\b(?:zero|identity)\b", re.IGNORECASE)
LONG = 20
"""A text of a card is exempt from so many characters on, so that no single word is."""


def texts_of_others() -> list[str]:
    """What the authors of mechanisms and of published tables wrote: they use their own words."""
    found = [
        text for card in VARIANTS.values() for text in (card.summary, card.published_defaults)
    ]
    for path in (REPOSITORY / "results" / "reference").glob("*.json"):
        found += re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8"))
    return [" ".join(text.split()).lower() for text in found if len(text) >= LONG]


OTHERS = texts_of_others()


def names_of_tasks() -> dict[str, re.Pattern[str]]:
    """What tasks call their levels (by the fields of their data) and guesses without training.

    They are the words of a task's author, by the path of the task's own page.
    """
    names: dict[str, set[str]] = {}
    for record in results_folders(REPOSITORY / "results").read("quick").records:
        own = names.setdefault(f"tasks/{record.task.name}.html", set())
        own |= {*record.shortcuts, *(at.name for at in record.metrics.levels)}
    return {
        path: re.compile(
            rf"\b(?:{'|'.join(map(re.escape, sorted(own, key=len, reverse=True)))})\b"
        )
        for path, own in names.items()
        if own
    }


NAMES = names_of_tasks()


class Visible(HTMLParser):
    """What a reader of a page sees or hears, text by text; code is left out."""

    SILENT = ("code", "pre", "script", "style", "cite")
    SPOKEN = ("title", "aria-label", "alt", "placeholder", "content")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.silent = 0
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in self.SILENT
        if dict(attrs).get("http-equiv") is None:
            self.texts += [value for name, value in attrs if name in self.SPOKEN and value]

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in self.SILENT

    def handle_data(self, data: str) -> None:
        if not self.silent and data.strip():
            self.texts.append(" ".join(data.split()))


def private_words(page: str, path: str = "") -> list[str]:
    """The texts of a page that have a private word, or are the name of a role."""
    own = NAMES.get(path)
    return [
        text
        for text in Visible(page).texts
        if _is_private(own.sub("", text) if own else text) and not _of_others(text)
    ]


def _is_private(text: str) -> bool:
    return bool(ROLES.fullmatch(text) or WORDS.search(text))


def _of_others(text: str) -> bool:
    text = text.lower().strip(" .")
    return len(text) >= LONG and any(text in other for other in OTHERS)


def pages_of(site: Path) -> Iterator[tuple[str, str]]:
    paths = sorted(site.rglob("*.html"))
    assert len(paths) > len(VARIANTS)
    for path in paths:
        yield path.relative_to(site).as_posix(), path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def published_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the results that the repository publishes, measurements of kernels too."""
    out = tmp_path_factory.mktemp("published-words") / "site"
    build_site(REPOSITORY / "results", out)
    return out


@pytest.mark.parametrize("built", ["site", "published_site"])
def test_no_page_has_a_private_word(built: str, request: pytest.FixtureRequest) -> None:
    found = {
        name: words
        for name, page in pages_of(request.getfixturevalue(built))
        if (words := private_words(page, name))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        ["leaderboard"],
        ["leaderboard", "--pattern", "cs"],
        ["leaderboard", "--json"],
        ["compare", "linear", "performer"],
        ["compare", "linear", "nystrom"],
        ["report"],
        ["report", "--format", "latex"],
        ["report", "--format", "csv"],
        ["report", "--format", "json"],
        *([name, "--help"] for name in ("leaderboard", "compare", "report", "site")),
    ],
    ids=" ".join,
)
def test_no_output_has_a_private_word(line: list[str], results: Path) -> None:
    said = cab_here(*line, CAB_RESULTS=str(results))
    assert said.code == 0, said.err
    text = " ".join((said.out + said.err).split())
    assert WORDS.findall(text) == []
    assert ROLES.findall(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "<p>They cannot be told from softmax.</p>",
        '<td title="a task that counts">1</td>',
        '<svg role="img" aria-label="Efficiency lengths"></svg>',
        "<small>zero</small>",
        "<p><code>code</code> It was proved.</p>",
    ],
)
def test_a_private_word_is_found_wherever_a_reader_meets_it(text: str) -> None:
    assert len(private_words(text)) == 1


def test_code_and_ordinary_senses_are_not_private() -> None:
    fine = "<p>Run <code>cab certify</code>. A missing value is never counted as zero.</p>"
    assert private_words(fine) == []
