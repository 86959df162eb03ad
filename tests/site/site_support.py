"""A site of made-up results, and a browser to look at it with."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_records import COUNTING, made, made_board
from support import REPOSITORY

from cab.records.results import canonical_line, results_file, write_results
from cab.records.store import Record

ENTRIES = {
    "linear": 0.55, "performer": 0.7, "window": 0.35, "abc": 0.6, "cosformer": 0.5, "gqa": 0.97,
    "mqa": 0.96, "chunked": 1.0, "deltanet": 0.8, "lightning": 0.4,
}  # fmt: skip
HOSTILE = '<img src=x onerror="window.hacked=1">'
HOSTILE_SETTING = "</td><script>window.hacked=1</script>"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """A browser on this machine, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CAB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def opened(browser: Any, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """A fresh tab, and what went wrong in it: errors, warnings, failed requests."""
    context = browser.new_context(**options)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    # A request that the next address cut off has not failed.
    page.on(
        "requestfailed",
        lambda request: (
            "ERR_ABORTED" in (request.failure or "") or wrong.append(f"failed: {request.url}")
        ),
    )
    page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    try:
        yield page, wrong
    finally:
        context.close()


AXE = "axe-core@4.14.1"


def axe_source() -> str:
    """The source of axe-core, which npm brings into the environment's cache at first use.

    Without npm the test is skipped; npm that cannot install it is an error.
    """
    cache = Path(sys.prefix) / "cache" / AXE
    source = Path("node_modules") / "axe-core" / "axe.min.js"
    for folder in (REPOSITORY, cache):
        if (folder / source).is_file():
            return (folder / source).read_text(encoding="utf-8")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm to install axe-core with: install npm, or axe-core in node_modules")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        made = Path(folder) / "axe"
        made.mkdir()
        command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", made, AXE]
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        # Another process may have been faster.
        if not cache.exists():
            made.rename(cache)
    return (cache / source).read_text(encoding="utf-8")


def results_of(folder: Path, records: Iterable[Record]) -> Path:
    """Publish records in a folder that has the tables and texts of the repository beside them."""
    results = folder / "results"
    shutil.copytree(REPOSITORY / "results" / "reference", results / "reference")
    shutil.copytree(REPOSITORY / "results" / "certificates", results / "certificates")
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(REPOSITORY / name, folder / name)
    by_variant: dict[str, list[Record]] = {}
    for record in records:
        by_variant.setdefault(record.variant.name, []).append(record)
    for name, own in by_variant.items():
        write_results(results_file(results, "quick", name), own)
    return results


def whole_board() -> list[Record]:
    """Entries on all that counts today, one with failures, one with another setting, one seed."""
    return [
        *made_board(ENTRIES, tasks=COUNTING),
        *made("nystrom", "mirror", (0.52,)),
        *made("window", "mqar", (0.8, 0.79, 0.81), options={"window": 64}),
        *made("luna", "mirror", (0.0, 0.0), status="oom"),
        *made("softmax", "byte-lm", (2.1, 2.12)),
        *made("none", "byte-lm", (2.3, 2.31)),
        *gates(),
    ]


def gates() -> list[Record]:
    """Gates of feature maps, one of them on one of the two tasks only, and the net without."""
    digits, words = "digits-residual", "keywords-residual"
    return [
        *made("none", digits, (0.90, 0.91, 0.92)),
        *made("none", words, (0.80, 0.81, 0.79)),
        *made("se", digits, (0.95, 0.96, 0.97)),
        *made("se", words, (0.89, 0.90, 0.91)),
        *made("eca", digits, (0.90, 0.92, 0.91)),
        *made("eca", words, (0.80, 0.80, 0.81)),
        *made("cbam", digits, (0.94, 0.95, 0.93)),
    ]


def hostile(results: Path) -> None:
    """Add records whose names try to run as markup, past what `cab publish` allows."""
    records = [
        *made(HOSTILE, "mqar", (0.7, 0.71, 0.69), message="<script>window.hacked=1</script>"),
        *made("linear", "mqar", (0.6, 0.6, 0.6), options={"x": HOSTILE_SETTING}),
    ]
    lines = sorted(canonical_line(record) for record in records)
    (results / "quick" / "hostile.jsonl").write_text("\n".join(lines) + "\n")
