"""One site for all tests of pages, and one browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_records import own_tasks_scored
from site_support import FLAGS, chromium, hostile, results_of, whole_board

from cab.site.build import build_site


@pytest.fixture(scope="module", autouse=True)
def _own_tasks_scored() -> Iterator[None]:
    # Not for the session: other tests of this process look at the tasks as they are.
    with own_tasks_scored():
        yield


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return results_of(tmp_path_factory.mktemp("published"), whole_board())


@pytest.fixture(scope="session")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("web") / "under" / "a-path"
    with own_tasks_scored():
        assert build_site(results, out).problems == ()
    return out


@pytest.fixture(scope="session")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = results_of(tmp_path_factory.mktemp("hostile"), whole_board())
    hostile(results)
    out = tmp_path_factory.mktemp("hostile-web") / "site"
    with own_tasks_scored():
        build_site(results, out)
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip("no browser: install chromium, or name one in CAB_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield one
        one.close()
