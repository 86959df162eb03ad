"""The pages in a real browser: what a reader does, and what a hostile record must not do."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from made_records import REGISTERED, VARIANTS
from site_support import HOSTILE, HOSTILE_SETTING, opened

from cab.records.results import read_results
from cab.registry import discover_tasks
from cab.scores.board import make_board
from cab.scores.comparison import compare
from cab.scores.table import records_table
from cab.taxonomy import Domain

PAGES = (
    "index.html", "patterns/cs.html", "variants/index.html", "variants/performer.html",
    "variants/luna.html", "tasks/index.html", "tasks/mqar.html", "tasks/byte-lm.html",
    "compare.html", "pareto.html", "kernels.html", "taxonomy.html", "findings.html",
    "consistency.html", "correlations.html", "benefit.html", "lengths.html",
    "published.html", "method.html", "contribute.html", "changelog.html",
)  # fmt: skip


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    with opened(browser, viewport={"width": 1280, "height": 900}) as (page, wrong):
        yield page
        assert wrong == []


@pytest.fixture
def open_page(tab: Any, site: Path) -> Callable[[str], Any]:
    def go(address: str) -> Any:
        tab.goto((site / "x").as_uri()[:-1] + address)
        return tab

    return go


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[str]:
    """The site under a sub-path of a server of this machine's."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = partial(Quiet, directory=str(site.parent.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_address[1]}/under/a-path/"
        one.shutdown()


def entries(page: Any, table: str = "#board") -> list[str]:
    """The rows that can be seen, in order."""
    rows = page.locator(f"{table} tbody tr[data-entry]:visible")
    return rows.evaluate_all("rows => rows.map(row => row.dataset.entry)")


@pytest.mark.parametrize("mode", [(1280, "light"), (390, "dark")])
def test_every_page_opens_from_a_file_without_error_and_fits(
    browser: Any, site: Path, mode: tuple[int, str]
) -> None:
    width, scheme = mode
    size = {"width": width, "height": 800}
    with opened(browser, viewport=size, color_scheme=scheme) as (page, wrong):
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        for name in PAGES:
            page.goto((site / name).as_uri())
            assert page.locator("h1").count() == 1, name
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert wrong == []
        assert {request.partition(":")[0] for request in requests} == {"file"}
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 254, 250)" if scheme == "light" else "rgb(22, 21, 19)")


def test_no_request_leaves_the_page_when_it_is_served(browser: Any, server: str) -> None:
    with opened(browser) as (page, wrong):
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        for name in PAGES:
            assert page.goto(server + name).status == 200
            assert page.evaluate("document.fonts.status") == "loaded"
        assert wrong == []
        assert all(request.startswith(server) for request in requests)


def test_sorting_orders_rows_within_their_coverage_and_goes_back(open_page: Any) -> None:
    page = open_page("index.html")
    before = entries(page)
    page.get_by_role("button", name="Seeds").click()
    page.get_by_role("columnheader", name="cs").get_by_role("button").click()
    assert "sort=-cs" in page.url
    assert page.locator("#board th[data-key=cs]").get_attribute("aria-sort") == "descending"
    for body in page.locator("#board tbody").all():
        shown = body.locator("tr[data-entry] td.p:nth-child(6)")
        values = [v for v in shown.evaluate_all("c => c.map(x => x.dataset.v)") if v]
        assert values == sorted(values, key=float, reverse=True)
    assert sorted(entries(page)) == sorted(before)
    page.go_back()
    page.go_back()
    assert entries(page) == before
    assert page.locator("#board th[data-key=rank]").get_attribute("aria-sort") == "ascending"


def test_filters_stand_in_the_address_and_the_back_button_undoes_them(open_page: Any) -> None:
    page = open_page("index.html")
    everything = entries(page)
    page.get_by_label("Family").select_option("linear")
    assert "family=linear" in page.url
    linear = [name for name in everything if VARIANTS[name.split(" ")[0]].family == "linear"]
    assert entries(page) == linear
    assert page.locator("#count").inner_text() == f"{len(linear)} of {len(everything)}"
    page.get_by_label("Pattern").select_option("cc")
    both = entries(page)
    assert both == [name for name in linear if "cc" in VARIANTS[name].patterns]
    page.go_back()
    assert entries(page) == linear
    page.reload()
    assert entries(page) == linear
    assert page.get_by_label("Family").input_value() == "linear"
    page.get_by_role("button", name="Clear").click()
    assert entries(page) == everything


def test_a_deep_link_shows_what_was_sent(open_page: Any) -> None:
    page = open_page("index.html?find=per&sort=-entry")
    assert entries(page) == ["performer"]
    assert page.get_by_label("Find").input_value() == "per"
    page = open_page("index.html?domain=retrieval")
    shown = page.locator("#board thead th.t:visible").all_inner_texts()
    cards = discover_tasks().cards()
    assert {card.domain for card in cards if card.name in shown} == {Domain.RETRIEVAL}
    assert "mqar" in shown


def test_ranks_are_those_of_the_board_within_each_coverage(open_page: Any, results: Path) -> None:
    page = open_page("index.html")
    assert page.locator("#board tbody").count() > 1
    table = records_table(read_results(results, "quick")[0])
    board = make_board(table, "quick", REGISTERED, VARIANTS)
    assert entries(page) == [row.entry for row in board.rows if row.score is not None]
    ranks = page.locator("#board tbody td.rank").all_inner_texts()
    assert ranks == [str(row.ranks or "\u2013") for row in board.rows if row.score]
    assert any("-" in rank for rank in ranks)
    assert "Only rows with equal coverage" in page.locator("#board caption").inner_text()


def test_heads_that_are_links_stay_links_where_the_table_can_be_sorted(open_page: Any) -> None:
    page = open_page("patterns/cs.html")
    head = page.locator("th", has=page.get_by_role("link", name="mqar", exact=True)).first
    page.get_by_role("button", name="Sort by mqar").click()
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("link").click()
    assert page.url.endswith("tasks/mqar.html")


def test_two_entries_are_compared_as_the_program_does_it(open_page: Any, results: Path) -> None:
    page = open_page("compare.html?with=performer&with=linear")
    assert entries(page, "#compare") == ["performer", "linear"]
    table = records_table(read_results(results, "quick")[0])
    board = make_board(table, "quick", REGISTERED, VARIANTS)
    patterns = {name: card.pattern for name, card in REGISTERED.items()}
    found = {one.name: one for one in compare(board, "performer", "linear", patterns).tasks}
    head = page.locator("#differences thead th").all_inner_texts()[1:]
    cells = page.locator("#differences tbody td").all_inner_texts()
    for task, cell in zip(head, cells, strict=True):
        if task not in found:
            assert cell == "\u2013"
            continue
        mean, half = cell.replace("\u2212", "-").split(" ± ")
        assert float(mean) == pytest.approx(found[task].difference, abs=5.1e-4)
        interval = found[task].interval
        assert float(half) == pytest.approx((interval.high - interval.low) / 2, abs=1.1e-3)
    page.get_by_label("Remove linear").click()
    assert entries(page, "#compare") == ["performer"]
    page.get_by_label("Add").fill("gqa")
    assert entries(page, "#compare") == ["performer", "gqa"]
    page.go_back()
    assert entries(page, "#compare") == ["performer"]


def test_all_can_be_done_with_the_keyboard(open_page: Any) -> None:
    page = open_page("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Score":
            break
    page.keyboard.press("Enter")
    assert "sort=-score" in page.url
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_light_and_dark_can_be_chosen_and_are_kept(open_page: Any) -> None:
    page = open_page("index.html")
    page.get_by_label("Switch between light and dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page = open_page("method.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_board_is_whole_without_javascript(browser: Any, site: Path) -> None:
    with opened(browser, java_script_enabled=False) as (page, wrong):
        page.goto((site / "index.html").as_uri())
        assert page.locator("#filters").is_hidden()
        assert page.locator("#board tbody tr[data-entry]:visible").count() >= 10
        assert page.locator("#board tbody th a").first.get_attribute("href").endswith(".html")
        page.goto((site / "compare.html").as_uri())
        assert page.locator("#compare tbody tr:visible").count() >= 10
        assert wrong == []


def test_a_hostile_record_runs_nothing(browser: Any, hostile_site: Path) -> None:
    with opened(browser) as (page, wrong):
        for path in sorted(hostile_site.rglob("*.html")):
            if "onerror" not in path.read_text() and "hacked" not in path.read_text():
                continue
            page.goto(path.as_uri())
            page.wait_for_timeout(50)
            assert page.evaluate("window.hacked") is None, path
            assert page.locator("img, td script, th script").count() == 0, path
        page.goto((hostile_site / "index.html").as_uri() + "?with=" + HOSTILE)
        names = entries(page)
        assert HOSTILE in names
        assert f"linear (x={HOSTILE_SETTING})" in names
        page.goto((hostile_site / "compare.html").as_uri())
        for name in (HOSTILE, "linear"):
            page.get_by_label("Add").fill(name)
        assert entries(page, "#compare") == [HOSTILE, "linear"]
        assert page.evaluate("window.hacked") is None
        assert wrong == []
