"""The pages say nothing that is not so: ranks, sizes, who is missing, how many."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_records import REGISTERED, VARIANTS, made, made_board
from site_support import results_of
from support import REPOSITORY

from cab.conformance.budget import RULE
from cab.registry import discover_tasks
from cab.running.fitting import refusal_of
from cab.site.build import build_site, files
from cab.site.content import gather
from cab.taxonomy import Pattern


class Prose(HTMLParser):
    """The text of a page outside of code, scripts and drawings."""

    SILENT = ("code", "pre", "script", "style", "svg", "title")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in self.SILENT:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.words.append(data)


def prose(text: str) -> str:
    return " ".join(" ".join(Prose(text).words).split())


def sized(variant: str, task: str, values: Sequence[float], parameters: int) -> list:
    return [
        one.model_copy(
            update={
                "variant": one.variant.model_copy(update={"parameters": parameters}),
                "cost": one.cost.model_copy(update={"flops": 10 * parameters}),
            }
        )
        for one in made(variant, task, values)
    ]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two recurrent entries on `mqar`, one of them large; one alone on two tasks; one failed."""
    three = lambda value: (value, value + 0.01, value - 0.01)  # noqa: E731
    records = [
        *sized("softmax", "mqar", three(0.9), 1000), *sized("none", "mqar", three(0.1), 100),
        *sized("softmax", "mirror", three(0.9), 1000), *sized("none", "mirror", three(0.1), 100),
        *sized("gqa", "regress", three(0.9), 1000),
        *sized("window", "mirror", three(0.6), 1000),
        *sized("gla", "mqar", three(0.7), 1000), *sized("mamba2", "mqar", three(0.3), 1390),
        *sized("linear", "mqar", three(0.5), 1000), *sized("linear", "mirror", three(0.5), 1000),
        *sized("abc", "mqar", (0.5, 0.51), 1000),
        *made("luna", "mirror", (0.0, 0.0), status="oom"),
        *made("performer", "mqar", three(0.6), version=REGISTERED["mqar"].version - 1),
    ]  # fmt: skip
    return files(gather(results_of(tmp_path_factory.mktemp("said"), records)))


def row_of(page: str, entry: str) -> str:
    """The text of an entry's row in the first table that has it."""
    (found, *_) = [r for r in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f">{entry}</a>" in r]
    return prose(found)


def test_an_entry_without_a_rank_says_why(pages: dict[str, str]) -> None:
    alone = "the only entry with complete results in these patterns"
    assert alone not in row_of(pages["index.html"], "linear")
    assert alone in row_of(pages["index.html"], "window")
    assert f"not ranked: {alone}" in prose(pages["variants/window.html"])
    assert "2 seeds, a rank needs 3" in row_of(pages["index.html"], "abc")
    assert "2 seeds, a rank needs 3" in row_of(pages["patterns/cs.html"], "abc")
    assert "not ranked: trial: 2 seeds, a rank needs 3" in prose(pages["variants/abc.html"])
    for name, page in pages.items():
        assert "not ranked: 3 seeds" not in prose(page), name
    ranked = row_of(pages["index.html"], "gla")
    assert "only entry" not in ranked
    assert "seed" not in ranked
    assert "the only entry with complete results in this pattern" in row_of(
        pages["patterns/nc.html"], "gqa"
    )


def test_pages_say_that_ranks_depend_on_who_is_compared(pages: dict[str, str]) -> None:
    for name in ("index.html", "patterns/cs.html", "method.html"):
        assert "Ranks depend on the entries that are compared" in prose(pages[name]), name


def test_softmax_is_ranked_and_what_is_marked_stands_on_the_board(pages: dict[str, str]) -> None:
    assert re.match(r"1 softmax", row_of(pages["index.html"], "softmax"))
    assert re.match(r"\u2013 none", row_of(pages["index.html"], "none"))
    assert "trial" in row_of(pages["index.html"], "abc")
    assert "trial" not in row_of(pages["index.html"], "gla")
    assert "6/6 on the plateau" in row_of(pages["patterns/ns.html"], "none")
    assert "on the plateau" not in row_of(pages["index.html"], "gla")


def test_the_size_of_what_is_over_the_budget_stands_wherever_it_does(
    pages: dict[str, str],
) -> None:
    for name in ("index.html", "patterns/cs.html", "tasks/mqar.html", "compare.html",
                 "variants/index.html", "pareto.html"):  # fmt: skip
        assert "+39 % size" in row_of(pages[name], "mamba2"), name
        assert "size" not in row_of(pages[name], "gla"), name
    assert "+39 % size" in prose(pages["variants/mamba2.html"])
    assert "mamba2 (+39 \\% size)" in pages["data/quick/board.tex"]
    # It is ranked all the same.
    assert re.match(r"\d", row_of(pages["index.html"], "mamba2"))


def test_the_budget_is_one_rule_everywhere(pages: dict[str, str]) -> None:
    assert RULE == "An entry that is more than 10% larger is marked with its size and is ranked"
    laws = " ".join((REPOSITORY / "docs" / "laws.md").read_text(encoding="utf-8").split())
    assert "its row is marked with its size, and is ranked" in laws
    for name in ("index.html", "patterns/cs.html", "method.html"):
        assert "is marked with its size, such as +25 % size, and is ranked" in prose(pages[name])
    said = [laws, *(prose(page) for page in pages.values())]
    assert not [text for text in said if re.search("marked, not r|not ranked: it is larger", text)]


@pytest.mark.parametrize("name", ["mqar", "mirror", "digits-residual", "read-digits"])
def test_a_list_names_those_that_could_be_in_it(pages: dict[str, str], name: str) -> None:
    page = prose(pages[f"tasks/{name}.html"])
    found = re.search(
        r"Variants that can run on this task but have not been run yet: ([^.]*) \.", page
    )
    named = found.group(1).replace(" ,", ",").split(", ")
    ran = {"mqar": {"softmax", "none", "gla", "mamba2", "linear", "abc", "performer"},
           "mirror": {"softmax", "none", "linear", "luna", "window"}}.get(name, set())  # fmt: skip
    offer = {v for v, card in VARIANTS.items() if not refusal_of(card, REGISTERED[name])}
    assert set(named) == offer - ran
    old = (
        "Variants that have results only for older source code or an older version of the task: "
        "performer" in page
    )
    assert old == (name == "mqar")


def test_a_pattern_names_those_that_failed_and_those_that_never_ran(pages: dict[str, str]) -> None:
    page = prose(pages["patterns/ns.html"])
    assert "These entries ran on the pattern's tasks but have no score: luna 2 oom ." in page
    found = re.search(
        r"Variants that support this pattern but have not been run yet: ([^.]*) \.", page
    ).group(1)
    never = set(found.replace(" ,", ",").split(", "))
    offer = {name for name, card in VARIANTS.items() if Pattern.NS in card.patterns}
    assert "performer" in never
    assert never <= offer - {"softmax", "none", "linear", "luna"}


def test_a_result_that_failed_is_not_said_to_be_on_a_task_that_does_not_count(
    pages: dict[str, str],
) -> None:
    page = prose(pages["index.html"])
    assert "Results only on tasks that are not scored: luna" not in page
    assert "No seed finished on a scored task: luna 2 oom" in page


def test_no_page_counts_one_tasks_or_shows_raw_markup(pages: dict[str, str], site: Path) -> None:
    built = {path.name: path.read_text() for path in site.rglob("*.html")}
    for found in (pages, built):
        for name, page in found.items():
            if name.endswith(".html"):
                text = prose(page)
                ones = r"\b1 (tasks|rows|seeds|cells|entries|records|pairs|others|mechanisms)\b"
                assert not re.search(ones, text), (name, re.search(ones, text))
                if name != "changelog.html":
                    assert "`" not in text, name


def test_refused_correlations_are_one_sentence(pages: dict[str, str]) -> None:
    page = prose(pages["correlations.html"])
    assert "6 pairs of patterns have no correlation: fewer than 5 entries have results" in page
    assert "fewer than 5 entries have both" not in page


def test_correlations_that_exist_are_shown_beside_the_sentence(tmp_path: Path) -> None:
    from site_support import ENTRIES

    results = results_of(tmp_path, made_board(ENTRIES))
    build_site(results, tmp_path / "site")
    page = (tmp_path / "site" / "correlations.html").read_text()
    rows = re.findall(r"<tr><th scope=.row.>", page)
    assert len(rows) > 0
    shown = prose(page)
    refused = re.search(r"other (\d+) pairs? of patterns (has|have) no correlation", shown)
    known = len(re.findall(r"patterns/\w\w\.html", page)) // 2
    assert known + (int(refused.group(1)) if refused else 0) == 6


def test_a_pattern_lists_whole_rows_before_those_with_some_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cab.site.content.discover_tasks", discover_tasks)  # two scored in cs
    three = lambda value: (value, value + 0.01, value - 0.01)  # noqa: E731
    records = [
        *(one for task in ("mqar", "parity") for one in made("softmax", task, three(0.9))),
        *(one for task in ("mqar", "parity") for one in made("none", task, three(0.1))),
        *(one for task in ("mqar", "parity") for one in made("linear", task, three(0.5))),
        *made("gla", "mqar", three(0.97)),  # better, on one of two tasks
    ]
    page = files(gather(results_of(tmp_path, records)))["patterns/cs.html"]
    rows = re.findall(r">(softmax|linear|gla)</a>", page[page.index("<tbody>") :])
    assert rows[:3] == ["softmax", "linear", "gla"]
