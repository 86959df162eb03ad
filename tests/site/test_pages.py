"""The built files, without a browser: identity, size, links, values."""

import csv
import gzip
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_records import REGISTERED, VARIANTS, made, made_board, shuffled
from site_support import results_of

from cab.errors import CabError
from cab.records.results import VERIFIED, Verification, canonical_line
from cab.scores.board import make_board
from cab.scores.report import document
from cab.scores.table import records_table
from cab.site.build import build_site


class Reader(HTMLParser):
    """Collects links, ids and open elements; complains of what is not closed."""

    VOID = ("meta", "link", "input", "br", "hr", "img", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []  # pages elsewhere, not loaded, that a reader may open
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.scripts = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._see(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._see(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def _see(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.attributes |= known.keys()
        self.scripts += tag == "script"
        if known.get("id"):
            self.ids.append(str(known["id"]))
        for name in ("href", "src"):
            if name in known:
                sources = self.sources if (tag, name) == ("a", "href") else self.links
                outside = re.match("https?://(?!arxiv.org/abs/)", str(known[name]))
                (sources if outside else self.links).append(str(known[name]))


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def contents(site: Path) -> dict[str, bytes]:
    return {str(p.relative_to(site)): p.read_bytes() for p in site.rglob("*") if p.is_file()}


def test_equal_results_give_equal_bytes(results: Path, site: Path, tmp_path: Path) -> None:
    build_site(results, tmp_path / "again")
    first, second = contents(site), contents(tmp_path / "again")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_the_order_in_which_records_were_published_changes_no_byte(tmp_path: Path) -> None:
    records = made_board({"linear": 0.5, "performer": 0.6})
    found = []
    for name, given in {"one": records, "other": shuffled(records, 3)}.items():
        (tmp_path / name).mkdir()
        results = results_of(tmp_path / name, given)
        found.append({p.name: p.read_bytes() for p in (results / "quick").iterdir()})
    assert found[0] == found[1]


def test_sizes_stay_small(site: Path) -> None:
    script = (site / "assets" / "site.js").read_bytes()
    style = (site / "assets" / "site.css").read_bytes()
    assert len(script) <= 20_000
    first = (site / "index.html").read_bytes() + script + style
    assert len(gzip.compress(first, mtime=0)) < 300_000 / 10


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    ids = {page: Reader(page.read_text()).ids for page in pages(site)}
    sources = {use.source for card in VARIANTS.values() for use in card.used_by}
    for page in pages(site):
        assert {*Reader(page.read_text()).sources} <= sources
        for link in Reader(page.read_text()).links:
            if link.startswith("https://arxiv.org/abs/"):
                continue
            assert not re.match(r"[a-z]+:|//|/", link), f"{page}: {link}"
            target, _, anchor = link.partition("#")
            path = (page.parent / target).resolve() if target else page
            assert path.is_file(), f"{page}: {link}"
            if anchor:
                assert anchor in ids[path], f"{page}: {link}"


def test_pages_are_whole_markup_without_inline_style_or_script(site: Path) -> None:
    for page in pages(site):
        read = Reader(page.read_text())
        assert len(read.ids) == len(set(read.ids)), page
        assert read.scripts == 1
        assert "style" not in read.attributes
        assert not [name for name in read.attributes if name.startswith("on")]


def test_every_variant_and_task_has_its_page(site: Path) -> None:
    for name in VARIANTS:
        assert (site / "variants" / f"{name}.html").is_file()
    for name in REGISTERED:
        assert (site / "tasks" / f"{name}.html").is_file()
    for name in ("kernels", "pareto", "compare", "taxonomy", "method", "contribute", "changelog"):
        assert (site / f"{name}.html").is_file()


def test_the_table_the_json_and_the_csv_say_the_same(results: Path, site: Path) -> None:
    from cab.records.results import read_results

    records = read_results(results, "quick")[0]
    board = make_board(records_table(records), "quick", REGISTERED, VARIANTS)
    written = json.loads((site / "data/quick/board.json").read_text())
    assert written == json.loads(json.dumps(document(board)))
    page = (site / "index.html").read_text()
    for row in written["rows"]:
        if row["score"] is None:
            continue
        value = f"{row['score']['value']:.2f}".replace("-", "\u2212")
        line = page[page.index(f'data-entry="{row["entry"]}"') :].partition("</tr>")[0]
        assert f">{value} <small>" in line
    lines = list(csv.DictReader(io.StringIO((site / "data/quick/board.csv").read_text())))
    of_csv = {(line["entry"], line["task"]): line["task_score"] for line in lines}
    for row in written["rows"]:
        for task, one in row["tasks"].items():
            expected = "" if one["score"] is None else str(one["score"]["value"])
            assert of_csv[row["entry"], task] == expected


def test_records_are_there_to_download(results: Path, site: Path) -> None:
    for path in (results / "quick").glob("*.jsonl"):
        assert (site / "data/quick/records" / path.name).read_bytes() == path.read_bytes()


def test_a_board_without_results_says_so(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    build_site(tmp_path / "results", tmp_path / "site")
    page = (tmp_path / "site/index.html").read_text()
    assert "No results of profile quick are published here" in page
    assert "how to add results" in page
    assert "built without" in (tmp_path / "site/contribute.html").read_text()


def test_a_folder_of_the_user_s_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(CabError, match="was not changed"):
        build_site(tmp_path, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    results = results_of(tmp_path, made_board({"linear": 0.5}))
    (results / "quick" / "broken.jsonl").write_text('{"key": NaN}\n')
    written = build_site(results, tmp_path / "site")
    assert [("broken.jsonl, line 1" in problem) for problem in written.problems] == [True]
    assert "linear" in (tmp_path / "site/index.html").read_text()


def test_reruns_decide_the_status(tmp_path: Path) -> None:
    records = made_board({"linear": 0.5})
    results = results_of(tmp_path, records)
    mine = [r for r in records if r.variant.name == "linear" and r.seed == 0]
    tops = {r.task.name: r for r in records if r.variant.name == "softmax" and r.seed == 0}
    problems: list[str] = []

    def again(record, away, **fields):
        # The made softmax is .7 above none, but for noise and for a chance above none.
        value = record.metrics.test[record.task.metric].value
        said = {
            "key": record.key, "task": record.task.name, "seed": 0, "published": value,
            "value": value + 0.7 * away, "environment": record.environment, "git_revision": None,
        }  # fmt: skip
        return Verification(**said | fields)

    def status(runs):
        path = results / VERIFIED / "quick" / "linear.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(canonical_line(run) + "\n" for run in runs))
        problems[:] = build_site(results, tmp_path / "site").problems
        page = (tmp_path / "site/index.html").read_text()
        row = page[page.index('data-entry="linear"') :]
        return re.search(r'data-status="([^"]+)"', row).group(1)

    assert len(tops) == len(mine) == 4
    assert status([]) == "self-reported"
    assert status([again(mine[0], 0.015)]) == "smoke-checked"
    assert status([again(record, 0.0) for record in mine]) == "verified"
    assert problems == []
    page = (tmp_path / "site/variants/linear.html").read_text()
    assert "rerun agrees" in page
    # One of four may be off by up to .1 of the scale; none by more.
    one_off = [again(record, 0.08 if place == 0 else 0.0) for place, record in enumerate(mine)]
    assert status(one_off) == "verified"
    one_wrong = [again(record, 0.2 if place == 0 else 0.0) for place, record in enumerate(mine)]
    assert status(one_wrong) == "not reproduced"
    # A rerun of another value or of another record counts for nothing, and is named.
    assert status([again(mine[0], 0.0, published=0.123)]) == "self-reported"
    assert ["0.123 was published" in text for text in problems] == [True]
    assert status([again(mine[0], 0.0, key="0" * 32)]) == "self-reported"
    assert ["no published record has this key" in text for text in problems] == [True]


def test_a_rerun_at_a_rate_that_was_not_chosen_counts(tmp_path: Path) -> None:
    rates = (1e-3, 2e-3, 4e-3)
    tried = [
        one
        for rate, value in zip(rates, (0.5, 0.9, 0.6), strict=True)
        for one in made("linear", "mqar", (value,), rate=rate, rates=rates)
    ]
    more = made("linear", "mqar", (0.91, 0.92), rate=rates[1], rates=rates, first=1)
    records = [*made("softmax", "mqar", (1.0,) * 3), *made("none", "mqar", (0.1,) * 3)]
    results = results_of(tmp_path, [*records, *tried, *more])
    path = results / VERIFIED / "quick" / "linear.jsonl"
    path.parent.mkdir(parents=True)
    rerun = Verification(
        key=tried[0].key, task="mqar", seed=0, published=0.5, value=0.5,
        environment=tried[0].environment, git_revision=None,
    )  # fmt: skip
    path.write_text(canonical_line(rerun) + "\n")
    assert not build_site(results, tmp_path / "site").problems
    page = (tmp_path / "site/index.html").read_text()
    row = page[page.index('data-entry="linear"') :]
    assert re.search(r'data-status="([^"]+)"', row).group(1) == "verified"


def test_a_contributed_row_does_not_rewrite_what_a_task_gives_without_training(
    tmp_path: Path,
) -> None:
    records = []
    for record in made_board({"linear": 0.5}):
        value = {"softmax": 0.125, "linear": 0.875}.get(record.variant.name)
        if value is not None and record.task.name == "mqar":
            name = "last value" if value == 0.125 else "psychic"
            estimate = record.metrics.test["accuracy"].model_copy(update={"value": value})
            claims = {name: estimate, "last value": estimate}
            record = record.model_copy(update={"shortcuts": claims})
        records.append(record)
    build_site(results_of(tmp_path, records), tmp_path / "site")
    page = (tmp_path / "site/tasks/mqar.html").read_text()
    (line,) = re.findall(r"<p>Results without training: .*?</p>", page)
    assert "last value 0.125" in line
    assert "psychic" not in page


def test_a_variant_s_page_shows_the_commit_of_each_record(tmp_path: Path) -> None:
    records = made_board({"linear": 0.5})
    trees = [("c" * 40, False), ("d" * 40, True), (None, None)]
    for place, record in enumerate(records):
        if record.variant.name == "linear":
            revision, dirty = trees[record.seed]
            update = {"git_revision": revision, "git_dirty": dirty}
            provenance = record.provenance.model_copy(update=update)
            records[place] = record.model_copy(update={"provenance": provenance})
    build_site(results_of(tmp_path, records), tmp_path / "site")
    page = (tmp_path / "site/variants/linear.html").read_text()
    assert f'<code class="hash">{"c" * 10}</code></td>' in page
    assert (
        f'<code class="hash">{"d" * 10}</code> <small>with changes that are in no commit' in page
    )
    assert "<td>not recorded</td>" in page
