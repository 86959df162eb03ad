"""One bad file breaks no command: it is named, the others are shown, and nothing odd is printed.

Real records are changed anywhere, and files replaced by anything, in stores and in folders of
results. Every command that reads them ends with 0, 1 or 2; an exception that it does not explain
fails the test, as does a control character, a formula in CSV or a command in LaTeX.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cli_support import Said, cab_here
from fuzzing import (
    FILES,
    NO_FILES,
    assert_csv_is_plain,
    assert_latex_is_plain,
    assert_page_is_plain,
    assert_safe,
    at_most,
    documents,
    no_file,
    real_records,
    text_of,
)
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from support import REPOSITORY

from cab.records.results import read_results
from cab.records.store import RecordStore
from cab.records.text import tidy
from cab.registry import discover_tasks, discover_variants

VARIANTS, TASKS = ("softmax", "none", "linear", "mean"), ("mqar", "mirror", "byte-lm")
PLACES = (
    "cab.commands.common.boards",
    "cab.commands.show",
    "cab.commands.verify",
    "cab.site.content",
)


@cache
def few() -> dict[str, Callable[..., Any]]:
    """The discovery of four variants and three tasks: the records are of no others."""
    variants = discover_variants().only(*VARIANTS)
    tasks = discover_tasks().only(*TASKS)
    return {"discover_variants": lambda *_: variants, "discover_tasks": lambda *_: tasks}


@contextmanager
def replaced(*places: str) -> Iterator[None]:
    """Let modules discover the few cards, which are read once."""
    with ExitStack() as patches:
        for place in places:
            patches.enter_context(mock.patch.multiple(place, **few()))
        yield


@pytest.fixture(scope="module", autouse=True)
def few_cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    few()
    # `cab publish` imports when it runs: what it imports first must not find the few cards.
    nowhere = tmp_path_factory.mktemp("nowhere")
    said("publish", "--store", nowhere, "--results", nowhere, "--variant", "linear")
    with replaced(*PLACES):
        yield


def usual(examples: int) -> Any:
    return settings(
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=(Phase.generate,),  # an example takes seconds, and shrinking hundreds of them
    )


def said(*arguments: object) -> Said:
    """What a command says, which is safe whatever it read."""
    with at_most(120):
        found = cab_here(*arguments)
    assert found.code in (0, 1, 2), arguments
    assert_safe(found.out)
    assert_safe(found.err)
    assert "Traceback" not in found.err
    return found


CONTENTS = st.sampled_from(sorted(FILES)).map(FILES.__getitem__)
CUT = st.tuples(documents(), st.integers(1, 2_000)).map(lambda one: text_of(one[0])[: one[1]])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of real records."""
    store = RecordStore(tmp_path_factory.mktemp("good"))
    store.folder.mkdir()
    for text in real_records():
        key = json.loads(text)["key"]
        (store.folder / f"{key}.json").write_text(text)
    assert len(store.load()[0]) == len(real_records())
    return store.root


@st.composite
def bad_stores(draw: Any) -> Callable[[Path], list[Path]]:
    """Puts changed records and other things into a store; returns their places."""
    changed = draw(st.lists(documents(), min_size=1, max_size=4))
    contents = draw(st.lists(CONTENTS | CUT.map(str.encode), max_size=2))
    kinds = draw(st.lists(st.sampled_from(NO_FILES), max_size=2))

    def put(folder: Path) -> list[Path]:
        paths = []
        for number, document in enumerate(changed):
            path = folder / f"{number:032x}.json"
            if "key" in document and isinstance(document["key"], str):
                document["key"] = path.stem
            path.write_text(text_of(document))
            paths.append(path)
        for number, content in enumerate(contents):
            paths.append(folder / f"a\x1b[31m{number}.json")
            paths[-1].write_bytes(content)
        for number, kind in enumerate(kinds):
            paths.append(folder / f"b{number}.json")
            no_file(paths[-1], kind)
        return paths

    return put


def check_store(root: Path, results: Path, put: Callable[[Path], list[Path]], good: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(good, root)
    paths = put(root / "records")
    store = RecordStore(root)
    records, problems = store.load()
    read = {one.key for one in records}
    assert all(one.stem in read or any(one.name in said for said in problems) for one in paths)
    assert {json.loads(text)["key"] for text in real_records()} <= {one.key for one in records}
    common = ("--store", root, "--results", results)
    shown = said("show", *common)
    for problem in problems:
        assert tidy(problem) in shown.err
    assert shown.code == 0
    assert said("show", *common, "--json").document["rows"]
    board = said("leaderboard", *common)
    assert board.code == 0
    assert "linear" in board.out
    for problem in problems:
        assert tidy(problem) in board.err
    json.loads(said("leaderboard", *common, "--json").out, parse_constant=pytest.fail)
    assert said("compare", "linear", "mean", *common).code == 0
    check_reports(common)
    with replaced("cab.registry"):
        said("publish", "--store", root, "--results", root / "results", "--variant", "linear")
    published, faults = read_results(root / "results", "quick")[::2]
    assert faults == []
    assert published


def test_an_index_is_made_of_what_can_be_read(tmp_path: Path, good: Path) -> None:
    shutil.copytree(good, tmp_path / "made")
    assert said("index", "--store", tmp_path / "made").code == 0

    @usual(3)
    @given(bad_stores())
    def each(put: Callable[[Path], list[Path]]) -> None:
        root = tmp_path / "made"
        put_in = put(root / "records")
        problems = RecordStore(root).load()[1]
        found = said("index", "--store", root, "--json")
        assert found.document["problems"] == problems
        assert found.document["refused"] == []
        assert found.code == (1 if problems else 0)
        for path in put_in:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        assert said("index", "--store", root).code == 0

    each()


def check_reports(options: tuple[object, ...]) -> None:
    said("report", *options)
    assert_csv_is_plain(said("report", *options, "--format", "csv").out)
    assert_latex_is_plain(said("report", *options, "--format", "latex").out)
    json.loads(said("report", *options, "--format", "json").out, parse_constant=pytest.fail)


def test_stores_with_anything_in_them_are_shown_without_it(tmp_path: Path, good: Path) -> None:
    @usual(52)
    @given(bad_stores())
    def each(put: Callable[[Path], list[Path]]) -> None:
        check_store(tmp_path / "store", tmp_path / "none", put, good)

    each()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))  # parts, which several workers share
def test_many_stores_with_anything_in_them_are_shown_without_it(
    part: int, tmp_path: Path, good: Path
) -> None:
    @seed(part)
    @usual(100)
    @given(bad_stores())
    def each(put: Callable[[Path], list[Path]]) -> None:
        check_store(tmp_path / "store", tmp_path / "none", put, good)

    each()


@st.composite
def bad_results(draw: Any) -> Callable[[Path], None]:
    """Puts changed records and other things into a folder of results, a file for each.

    Each changed record stands alone in a file of its own, so that it cannot hide the others.
    """
    changed = draw(st.lists(documents(), min_size=1, max_size=12))
    contents = draw(st.lists(CONTENTS | CUT.map(str.encode), max_size=2))
    kind = draw(st.sampled_from((None, *NO_FILES)))
    places = draw(
        st.lists(st.sampled_from(("certificates/quick", "reference", "kernels")), unique=True)
    )

    def put(results: Path) -> None:
        for number, document in enumerate(changed):
            (results / "quick" / f"changed-{number}.jsonl").write_text(text_of(document) + "\n")
        for number, content in enumerate(contents):
            (results / "quick" / f"other-{number}.jsonl").write_bytes(content)
            for place in places:
                ending = "jsonl" if place == "kernels" else "json"
                (results / place / f"other-{number}.{ending}").write_bytes(content)
        if kind is not None:
            no_file(results / "quick" / "odd.jsonl", kind)
            for place in places:
                ending = "jsonl" if place == "kernels" else "json"
                no_file(results / place / f"odd.{ending}", kind)

    return put


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real results."""
    results = tmp_path_factory.mktemp("published") / "results"
    for part in ("reference", "certificates"):
        shutil.copytree(REPOSITORY / "results" / part, results / part)
    (results / "quick").mkdir()
    (results / "kernels").mkdir()
    for name in VARIANTS:
        lines = [text for text in real_records() if json.loads(text)["variant"]["name"] == name]
        (results / "quick" / f"{name}.jsonl").write_text(
            "".join(text_of(json.loads(line)) + "\n" for line in lines)
        )
    assert read_results(results, "quick")[2] == []
    return results


def check_results(root: Path, published: Path, put: Callable[[Path], None]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(published, root / "results")
    results = root / "results"
    put(results)
    problems = read_results(results, "quick")[2]
    board = said("leaderboard", "--results", results)
    assert board.code == 0
    for problem in problems:
        assert tidy(problem) in board.err
    said("compare", "linear", "mean", "--results", results)
    check_reports(("--results", results))
    files = sorted((results / "quick").glob("*.jsonl"))
    found = said("verify", "--sample", "0", *files)
    assert found.code == 1
    json.loads(said("verify", "--sample", "0", "--json", *files).out)
    said("site", "build", "--results", results, "--out", root / "site")
    names = {path.name for path in (root / "site").rglob("*") if path.is_file()}
    assert "linear.html" in names
    for path in (root / "site").rglob("*"):
        if path.suffix in (".html", ".json", ".jsonl", ".csv", ".tex", ".bib"):
            check_file(path)


def check_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert_safe(text)
    if path.suffix == ".csv":
        assert_csv_is_plain(text)
    elif path.suffix == ".tex":
        assert_latex_is_plain(text)
    elif path.suffix == ".html":
        assert_page_is_plain(text)
    elif path.suffix == ".json":
        json.loads(text, parse_constant=pytest.fail)


def test_results_with_anything_in_them_are_shown_without_it(
    tmp_path: Path, published: Path
) -> None:
    @usual(8)
    @given(bad_results())
    def each(put: Callable[[Path], None]) -> None:
        check_results(tmp_path / "all", published, put)

    each()


@pytest.mark.slow
def test_many_results_with_anything_in_them_are_shown_without_it(
    tmp_path: Path, published: Path
) -> None:
    @usual(30)
    @given(bad_results())
    def each(put: Callable[[Path], None]) -> None:
        check_results(tmp_path / "all", published, put)

    each()
