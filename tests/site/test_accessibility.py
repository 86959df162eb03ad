"""The pages for everybody: axe-core finds nothing serious, nothing is cut, and paper shows all."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from site_support import axe_source, opened
from support import REPOSITORY

from cab.site.build import build_site

PAGES = (
    "index.html", "index.html?tasks=1", "patterns/cs.html", "variants/index.html",
    "variants/linear.html", "variants/se.html", "variants/luna.html", "variants/abc.html",
    "tasks/index.html", "tasks/mqar.html", "tasks/byte-lm.html", "tasks/digits-residual.html",
    "compare.html", "compare.html?with=linear&with=gla", "pareto.html", "kernels.html",
    "taxonomy.html", "findings.html", "consistency.html", "correlations.html", "benefit.html",
    "lengths.html", "capacity.html", "state-tracking.html", "precision.html",
    "feature-maps.html", "published.html", "method.html", "contribute.html", "changelog.html",
)  # fmt: skip
MODES = [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")]
WEIGHTY = ("serious", "critical")
MEASURED = ("softmax", "sdpa", "linear", "performer", "window", "gla", "mean", "fnet")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of what is published; of the measurements some subjects in one pattern."""
    folder = tmp_path_factory.mktemp("published")
    kernels = folder / "results" / "kernels"
    shutil.copytree(REPOSITORY / "results", folder / "results")
    for path in kernels.glob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(
            line for line in lines
            if '"pattern":"cs"' in line.replace(": ", ":")
            and any(f'"subject":"{name}"' in line.replace(": ", ":") for name in MEASURED)
        ))  # fmt: skip
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(REPOSITORY / name, folder / name)
    build_site(folder / "results", folder / "site")
    return folder / "site"


@pytest.fixture(params=MODES, ids=lambda mode: f"{mode[0]}-{mode[1]}")
def tab(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A tab of some width in light or dark, in which axe-core may run besides the page's own."""
    width, scheme = request.param
    size = {"width": width, "height": 900}
    options = {"viewport": size, "color_scheme": scheme, "bypass_csp": True}
    with opened(browser, **options) as (page, _):
        yield page


def visit(page: Any, site: Path, address: str) -> None:
    path, _, query = address.partition("?")
    page.goto((site / path).as_uri() + (f"?{query}" if query else ""))


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core calls serious or critical, with all that is folded opened."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in WEIGHTY
        for node in one["nodes"]
    ]


def test_every_kind_of_page_is_looked_at(published: Path) -> None:
    names = {path.relative_to(published).as_posix() for path in published.rglob("*.html")}
    single = {name for name in names if "/" not in name}
    asked = {address.partition("?")[0] for address in PAGES}
    assert single <= asked <= names
    folders = {name.partition("/")[0] for name in names - single}
    assert folders == {name.partition("/")[0] for name in asked - single}


def test_axe_finds_nothing_serious_on_any_kind_of_page(tab: Any, published: Path) -> None:
    axe, found = axe_source(), {}
    for address in PAGES:
        visit(tab, published, address)
        if wrong := violations(tab, axe):
            found[address] = wrong
    assert found == {}


def test_the_check_can_fail(browser: Any, published: Path) -> None:
    with opened(browser, bypass_csp=True) as (page, _):
        visit(page, published, "method.html")
        page.evaluate(
            """() => {
              for (const one of document.querySelectorAll("main a")) {
                one.style.textDecoration = "none";
              }
              document.querySelector("pre").removeAttribute("tabindex");
              document.querySelector("pre").style.width = "5rem";
              document.querySelector("header .name").setAttribute("aria-label", "Home");
            }"""
        )
        rules = {one.partition(":")[0] for one in violations(page, axe_source())}
    expected = {"link-in-text-block", "scrollable-region-focusable", "label-content-name-mismatch"}
    assert rules >= expected


def test_the_board_s_text_is_whole_on_a_phone(browser: Any, published: Path) -> None:
    with opened(browser, viewport={"width": 390, "height": 900}) as (page, _):
        for address in ("index.html", "patterns/cs.html", "tasks/mqar.html", "feature-maps.html"):
            visit(page, published, address)
            cut = page.evaluate(
                """() => [...document.querySelectorAll(
                    ".board tbody th, .board caption:not(.only-sr), .key dd")]
                  .filter((one) => one.offsetParent !== null)
                  .filter((one) => one.scrollWidth > one.clientWidth + 1
                    && getComputedStyle(one).overflowX !== "visible")
                  .map((one) => one.textContent)"""
            )
            assert cut == []
            beyond = page.evaluate(
                """() => [...document.querySelectorAll(
                    ".board tr.group div, .board tbody tr:not(.group) th")]
                  .filter((one) => one.offsetParent !== null)
                  .filter((one) => one.getBoundingClientRect().right > innerWidth)
                  .map((one) => one.textContent)"""
            )
            assert beyond == []


def test_the_board_fits_a_desk(browser: Any, published: Path) -> None:
    with opened(browser, viewport={"width": 1400, "height": 900}) as (page, _):
        visit(page, published, "index.html")
        beyond = page.evaluate(
            """() => {
              const box = document.querySelector(".wide");
              return box.scrollWidth - box.clientWidth;
            }"""
        )
        assert beyond <= 0


def test_names_in_figures_do_not_cover_each_other(browser: Any, published: Path) -> None:
    with opened(browser, viewport={"width": 1400, "height": 900}) as (page, _):
        for address in ("pareto.html", "kernels.html"):
            visit(page, published, address)
            covered = page.evaluate(
                """() => [...document.querySelectorAll("svg.plot")].flatMap((plot) => {
                  const boxes = [...plot.querySelectorAll("text")]
                    .map((one) => [one.textContent, one.getBoundingClientRect()]);
                  const meet = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right
                    && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
                  return boxes.flatMap(([name, a], i) => boxes.slice(i + 1)
                    .filter(([, b]) => meet(a, b)).map(([other]) => `${name} and ${other}`));
                })"""
            )
            assert covered == []


def test_what_is_folded_is_printed(browser: Any, published: Path) -> None:
    with opened(browser) as (page, _):
        visit(page, published, "kernels.html")
        folded = page.locator("details:not([open])")
        assert folded.count() > 2
        table = page.locator("details table").first
        assert not table.is_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert folded.count() == 0
        assert table.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert not table.is_visible()
    with opened(browser, java_script_enabled=False) as (page, _):
        visit(page, published, "kernels.html")
        page.emulate_media(media="print")
        heights = page.locator("details table").first.bounding_box()
        assert heights["height"] > 50
