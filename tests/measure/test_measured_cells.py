"""A cell finds what is slow, impossible, too large or broken, and keeps every sample."""

import dataclasses
import json
import os
import resource
import threading

import pytest
import torch
from measure_support import QUICK, known_as, planted, point, rows_of

from cab.errors import CabError
from cab.kernels.operator import Work
from cab.measure.ceilings import Ceilings, measure_ceilings
from cab.measure.cell import run
from cab.measure.points import PASSES, Cell, MechanismName
from cab.measure.record import append_rows, read_rows, write_rows


def four_times(run):
    def call(q, k, v):
        for _ in range(3):
            run(q, k, v)
        return run(q, k, v)

    return call


def test_a_planted_slow_implementation_is_found_slower_and_a_true_one_is_not():
    with known_as(planted(four_times)):
        names = ["softmax:planted", "softmax:sdpa"]
        rows = rows_of(names, point(length=160), baselines=("softmax:sdpa",))
    ratio = rows["softmax:planted"].against["softmax:sdpa"]
    assert ratio.low > 1.5
    assert ratio.low <= ratio.time <= ratio.high
    assert rows["softmax:sdpa"].against == {}


def test_every_sample_is_kept_with_its_summary():
    row = rows_of(["softmax:sdpa"], point())["softmax:sdpa"]
    assert row.timing is not None
    assert len(row.timing.samples) == len(row.timing.host_samples) >= 20
    assert row.timing.low <= row.timing.median <= row.timing.high
    assert row.timing.timer == "perf_counter"
    assert row.timing.tokens_per_second == pytest.approx(2 * 48 / row.timing.median)
    assert row.environment.threads == 1


def test_a_time_below_the_ceiling_is_impossible():
    claimed = planted(lambda run: run, work=lambda case: Work(10**15, 0, 1))
    with known_as(claimed):
        row = rows_of(["softmax:planted"], point())["softmax:planted"]
    assert row.status == "impossible"
    assert "is below the hardware's limit for this work" in row.message
    assert row.work is not None
    assert row.timing is not None
    assert row.timing.median < row.work.ceiling_seconds


def test_before_a_time_is_called_impossible_the_ceilings_are_measured_again(monkeypatch):
    measured = []

    def held_up_at_first(*args):
        measured.append(measure_ceilings(*args))
        if len(measured) > 3:
            return measured[-1]
        return Ceilings(1e3, 1e3, dict.fromkeys(measured[-1].bytes, 1e3))

    monkeypatch.setattr("cab.measure.cell.measure_ceilings", held_up_at_first)
    row = rows_of(["softmax:sdpa"], point())["softmax:sdpa"]
    assert (row.status, len(measured)) == ("ok", 4)


def too_large(run):
    def call(q, k, v):
        if q.shape[2] > 40:
            torch.empty(1 << 60, dtype=torch.uint8)
        return run(q, k, v)

    return call


def raises_late(run):
    calls = []

    def call(q, k, v):
        calls.append(1)
        if len(calls) > 15:
            raise RuntimeError("the sixteenth call")
        return run(q, k, v)

    return call


def test_out_of_memory_is_a_row_and_stops_nobody_else():
    with known_as(planted(too_large)):
        rows = rows_of(["softmax:planted", "softmax:sdpa"], point())
    assert rows["softmax:planted"].status == "oom"
    assert rows["softmax:sdpa"].status == "ok"


def test_an_error_in_the_middle_of_sampling_is_a_row_and_stops_nobody_else():
    with known_as(planted(raises_late)):
        rows = rows_of(["softmax:planted", "softmax:sdpa"], point())
    assert rows["softmax:planted"].status == "error"
    assert "the sixteenth call" in rows["softmax:planted"].message
    assert rows["softmax:sdpa"].status == "ok"


def test_what_would_take_too_long_is_a_row():
    limits = dataclasses.replace(QUICK, cell_seconds=1e-9)
    row = rows_of(["softmax:sdpa"], point(), limits=limits)["softmax:sdpa"]
    assert row.status == "timeout"
    assert "--time-limit" in row.message


@pytest.mark.parametrize("passage", PASSES)
@pytest.mark.parametrize(
    ("variant", "pattern"), [("softmax", "cs"), ("linear", "cc"), ("window", "cs")]
)
def test_variants_are_measured_in_every_pass(variant, pattern, passage):
    row = rows_of([variant], point(passage, pattern=pattern, length=20, value_width=0))[variant]
    assert row.status == "ok", row.message
    assert row.memory is not None
    assert (row.memory.saved is not None) == (passage in ("fwd", "bwd", "fwd_bwd"))
    assert (row.memory.state is not None) == (passage == "decode")


def test_a_decode_state_is_as_large_as_its_tensors():
    at = point("decode", length=20, value_width=0)
    softmax = rows_of(["softmax"], at)["softmax"].memory
    linear = rows_of(["linear"], at)["linear"].memory
    assert softmax is not None
    assert linear is not None
    keys_and_values, padding = 2 * 2 * 3 * 20 * 8 * 4, 2 * 20
    assert softmax.state == keys_and_values + padding
    assert linear.state == 2 * 3 * 8 * 9 * 4


def test_a_pattern_that_does_not_decode_is_unsupported():
    row = rows_of(["softmax"], point("decode", pattern="ns", value_width=0))["softmax"]
    assert row.status == "unsupported"


def test_rows_survive_both_kinds_of_file(tmp_path):
    names = (MechanismName("sdpa", "softmax"), MechanismName("eager", "softmax"))
    labels = frozenset(one.label for one in names)
    rows = run(Cell(point(), names, labels, labels, QUICK, 0, torch.get_num_threads()))
    for name in ("rows.json", "rows.jsonl"):
        write_rows(rows, tmp_path / name)
        assert read_rows(tmp_path / name) == rows


def test_a_full_disk_leaves_the_rows_that_were_there_and_no_part_of_others(tmp_path):
    names = (MechanismName("sdpa", "softmax"), MechanismName("eager", "softmax"))
    labels = frozenset(one.label for one in names)
    rows = run(Cell(point(), names, labels, labels, QUICK, 0, torch.get_num_threads()))
    path = tmp_path / "rows.jsonl"
    write_rows(rows, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        for write in (append_rows, lambda rows, path: write_rows([*rows, *rows], path)):
            with pytest.raises(CabError, match="File too large"):
                write(rows, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_rows(path) == rows
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_document_can_be_written_to_a_pipe(tmp_path):
    pipe = tmp_path / "rows.json"
    os.mkfifo(pipe)
    heard = []
    listener = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    listener.start()
    write_rows([], pipe)
    listener.join(10)
    assert json.loads(heard[0]) == {"rows": []}
    assert pipe.is_fifo()
