"""Plots: the same rows give the same file; the crossing is marked."""

from datetime import UTC, datetime

import pytest
from measure_support import cell_of, point

from cab.errors import CabError
from cab.measure.cell import row_key
from cab.measure.plots import plot
from cab.measure.record import BenchRow, Comparison, MemoryUse, Timing


def made(name, length, seconds, beside=0.0):
    at = point(length=length)
    cell = cell_of(["softmax:eager", "linear:chunked"], at, ("softmax:eager",))
    mechanism = next(one for one in cell.mechanisms if one.label == name)
    timing = Timing(
        timer="made up",
        samples=(seconds,),
        host_samples=(seconds,),
        warm_samples=(),
        median=seconds,
        low=seconds,
        high=seconds,
        p20=seconds,
        p80=seconds,
        warm_median=None,
        tokens_per_second=length / seconds,
        prepare_seconds=0.0,
        launch_bound=False,
        noise_floor=1.0,
    )
    memory = MemoryUse(peak=length, workspace=1, outputs=1, saved=None, held=None, state=None)
    ratio = seconds / beside if beside else 1.0  # the baseline beside itself
    comparison = Comparison(time=ratio, low=0.9 * ratio, high=1.1 * ratio, memory=0.5)
    fields = {**row_key(cell, mechanism), "measured": datetime(2026, 1, 1, tzinfo=UTC)}
    return BenchRow(
        **fields,
        status="ok",
        timing=timing,
        memory=memory,
        against={"softmax:eager": comparison} if beside else {},
    )


def rows():
    for length in (256, 1024, 4096):
        eager = length**2 / 1e9
        yield made("softmax:eager", length, eager)
        yield made("linear:chunked", length, length / 1e6, eager)


def test_the_same_rows_give_the_same_files(tmp_path):
    first, second = (plot(rows(), tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [
        f"{what}-cs-fwd_no_grad.svg" for what in ("time", "memory", "tokens")
    ]
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_the_crossing_of_the_curves_is_written_beside_its_line(tmp_path):
    time, memory, _ = plot(rows(), tmp_path)
    text = time.read_text(encoding="utf-8")
    assert "linear:chunked below softmax:eager from 1,000 (256 to 4,096)" in text
    assert "softmax:eager below" not in text
    assert "below" not in memory.read_text(encoding="utf-8")  # it is so at every length


def test_a_folder_that_cannot_be_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CabError, match=r"figure .* cannot be written"):
        plot(rows(), tmp_path / "file")
