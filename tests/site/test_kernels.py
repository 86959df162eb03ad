"""The page of kernels: time and memory against length, with intervals."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_support import make_record
from made_records import made
from site_support import results_of
from support import REPOSITORY

from cab.measure.record import (
    FAILURES,
    BenchRow,
    Comparison,
    MemoryUse,
    Timing,
    read_rows,
    write_rows,
)
from cab.records.sources import source_hash
from cab.registry import discover_variants
from cab.scores.table import host_class
from cab.site.build import files
from cab.site.content import Content, gather
from cab.site.kernels import drawn, efficiency_lengths, kernel_tables

NOISE = 0.02
VARIANTS = discover_variants()
HASHES = {name: source_hash(VARIANTS.entry(name).path) for name in ("softmax", "sdpa", "linear")}


def bench_row(
    subject: str, length: int, seconds: float, beside: float = 0, memory: int = 0
) -> BenchRow:
    """A row timed beside SDPA, which took `beside` seconds; SDPA's own row without."""
    timing = Timing(
        timer="perf_counter", samples=(seconds,) * 3, host_samples=(), warm_samples=(),
        median=seconds, low=seconds * (1 - NOISE), high=seconds * (1 + NOISE), p20=seconds,
        p80=seconds, warm_median=None, tokens_per_second=length / seconds, prepare_seconds=0,
        launch_bound=False, noise_floor=0,
    )  # fmt: skip
    peak = memory or 8 * length
    use = MemoryUse(peak=peak, workspace=0, outputs=0, saved=None, held=None, state=None)
    against = {}
    if beside:
        ratio = seconds / beside
        low, high = ratio * (1 - NOISE), ratio * (1 + NOISE)
        share = peak / (8 * length)  # SDPA's memory is linear
        against["sdpa"] = Comparison(time=ratio, low=low, high=high, memory=share)
    return BenchRow(
        subject=subject, role="candidate" if beside else "baseline", operator="", name=subject,
        options={}, pattern="ns", passage="fwd", length=length, keys=length, batch=1, heads=4,
        key_heads=4, head_width=64, value_width=64, window=0, alignment="bottom_right",
        dtype="float32", status="ok", timing=timing, memory=use, against=against, seed=0,
        environment=make_record().environment, measured=datetime(2026, 1, 1, tzinfo=UTC),
        source_hash=HASHES.get(subject),
    )  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Softmax is quadratic, linear attention linear; they meet at 1,024 tokens.

    SDPA, beside which all was measured, is twice as fast as softmax. When linear attention was
    measured, the machine was three times as slow.
    """
    (tmp_path / "kernels").mkdir()
    rows = []
    for n in (256, 512, 1024, 2048, 4096):
        sdpa = 0.5e-9 * n * n
        others = {f"other-{k:02d}": 1e-5 * n * (1 + k) for k in range(20)}
        rows += [bench_row(name, n, seconds, sdpa) for name, seconds in others.items()]
        rows += [bench_row("softmax", n, 2 * sdpa, sdpa, memory=n * n)]
        rows += [bench_row("linear", n, 3 * 1.024e-6 * n, 3 * sdpa, memory=512 * n)]
        rows += [bench_row("sdpa", n, slow * sdpa) for slow in (1.0, 1.0, 3.0)]
    write_rows(rows, tmp_path / "kernels" / "a-laptop.jsonl")
    return tmp_path


def change(results: Path, subject: str, **fields: object) -> Path:
    """Give other fields to a subject's rows; return their file."""
    path = results / "kernels" / "a-laptop.jsonl"
    rows = read_rows(path)
    write_rows([r.model_copy(update=fields) if r.subject == subject else r for r in rows], path)
    return path


def test_kernels_are_drawn_per_machine_with_their_crossings(measured: Path) -> None:
    (machine,) = kernel_tables(gather(measured).kernels, "softmax")
    assert machine.host.startswith("a-laptop: some, 1 thread")
    time, memory = machine.tables
    assert (time.measure, memory.measure) == ("milliseconds", "megabytes")
    assert time.baselines == ("softmax", "sdpa")
    assert "sdpa" not in time.crossings
    assert len(time.series) == 23
    (_, _, drawing), _ = drawn([machine], (), lambda name: "unknown")[0]["figures"]
    assert ">linear</text>" in drawing
    assert ">other-19</text>" not in drawing


def test_what_does_next_to_nothing_is_left_to_the_table(measured: Path) -> None:
    path = measured / "kernels" / "a-laptop.jsonl"
    rows = read_rows(path)
    write_rows([*rows, *(bench_row("nothing", n, 1e-9, 1.0) for n in (256, 4096))], path)
    (machine,) = kernel_tables(gather(measured).kernels, "softmax")
    (table, _, drawing), _ = drawn([machine], (), lambda name: "unknown")[0]["figures"]
    assert "nothing" in table.series
    assert ">nothing</text>" not in drawing
    assert "nothing is far cheaper than the others and is not drawn." in drawing


def test_rows_that_were_disturbed_are_not_shown(measured: Path) -> None:
    change(measured, "linear", waited=0.2)
    (machine,) = kernel_tables(gather(measured).kernels, "softmax")
    assert all("linear" not in table.series for table in machine.tables)
    assert len(machine.tables[0].series) == 22


def test_costs_stand_with_their_intervals(measured: Path) -> None:
    (machine,) = kernel_tables(gather(measured).kernels, "softmax")
    time, memory = machine.tables
    millisecond = 1e-6 * 2048**2
    one = time.series["softmax"][2048]
    assert one == pytest.approx((millisecond, 0.98 * millisecond, 1.02 * millisecond))
    # A baseline's interval is over the processes that it ran in.
    several = time.series["sdpa"][2048]
    assert several == pytest.approx((millisecond / 2, millisecond / 2, 3 * millisecond / 2))
    assert memory.series["linear"][2048] == pytest.approx((1.048576,) * 3)


def test_efficiency_lengths_come_from_times_taken_side_by_side(measured: Path) -> None:
    (machine,) = kernel_tables(gather(measured).kernels, "softmax")
    found = {
        (table.measure, baseline): one
        for _, table, baseline, one in efficiency_lengths([machine], "linear")
    }
    # Of the times themselves softmax would be left behind at 3,072 tokens.
    against_softmax = found["milliseconds", "softmax"]
    assert against_softmax.length == pytest.approx(1024)
    assert (against_softmax.low, against_softmax.high) == (512, 2048)
    assert found["milliseconds", "sdpa"].length == pytest.approx(2048)
    assert found["milliseconds", "sdpa"].words() == "2,048 (1,024 to 4,096)"
    assert found["megabytes", "softmax"].length == pytest.approx(512)
    assert found["megabytes", "sdpa"].verdict == "never"
    assert efficiency_lengths([machine], "softmax") == []
    other = {
        (table.measure, baseline): one
        for _, table, baseline, one in efficiency_lengths([machine], "other-19")
    }
    assert other["milliseconds", "sdpa"].verdict == "beyond"
    assert other["megabytes", "softmax"].words() == "<= 256"
    assert other["megabytes", "sdpa"].words() == "equal at 4,096"


def test_times_of_a_source_that_has_changed_are_not_shown_and_said(measured: Path) -> None:
    path = change(measured, "linear", source_hash="0" * 64)
    content = gather(measured)
    (machine,) = kernel_tables(content.kernels, "softmax")
    assert "linear" not in machine.tables[0].series
    assert len(machine.tables[0].series) == 22
    (problem,) = content.problems
    assert problem.startswith(f"{path}: measurements of linear are not shown")


def test_what_is_cheap_stands_beside_what_it_scores(tmp_path: Path) -> None:
    records = [
        *made("softmax", "mirror", (0.9, 0.91, 0.9)), *made("none", "mirror", (0.1, 0.1, 0.11)),
        *made("linear", "mirror", (0.5, 0.5, 0.51)),
    ]  # fmt: skip
    results = results_of(tmp_path, records)
    (results / "kernels").mkdir()
    rows = [bench_row("linear", 256, 1e-3, 1.0)]
    write_rows(rows, results / "kernels" / "a-laptop.jsonl")
    page = files(gather(results))["kernels.html"]
    assert "score in ns</th>" in page
    assert re.search(r"linear</th><td class=.n.>0\.38 <small>0\.\d\d \u2013 0\.\d\d</small>", page)


def test_the_pages_say_what_is_known_of_a_length(measured: Path) -> None:
    pages = files(gather(measured))
    assert "2,048 (1,024 to 4,096)" in pages["kernels.html"]
    assert "2,048 (1,024 to 4,096)" in pages["variants/linear.html"]
    assert "4.19 <small>4.11 to 4.28</small>" in pages["kernels.html"]
    assert "16.8 <small>16.4 to 17.1</small>" in pages["kernels.html"]
    assert '<td class="n">\u2264 256</td>' in pages["kernels.html"]


@pytest.fixture(scope="module")
def published() -> Content:
    return gather(REPOSITORY / "results")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "results" / "kernels").glob("*.jsonl")))
def test_published_measurements_are_proved_clean_and_of_the_sources_that_are_here(
    path: Path, published: Content
) -> None:
    rows = read_rows(path)
    assert len({host_class(row.environment) for row in rows}) == 1
    assert not [row for row in rows if row.status in FAILURES or row.unchecked or row.git_dirty]
    assert {Path(word).is_absolute() for row in rows for word in row.command.split()} == {False}
    assert published.problems == []
    assert published.kernels[path.stem] == rows
