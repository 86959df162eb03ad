"""What pytest-benchmark writes becomes rows."""

import json
import subprocess
import sys

import pytest
from cli_support import environment
from measure_support import point
from support import REPOSITORY

from cab.errors import CabError
from cab.measure.points import MechanismName
from cab.measure.pytest_benchmarks import extra_info, rows_of
from cab.measure.record import read_rows


def document(**changes):
    info = extra_info(MechanismName("sdpa", "softmax"), point("fwd_bwd"), "perf_counter")
    one = {"fullname": "a", "extra_info": info, "stats": {"data": [0.1, 0.2, 0.3]}}
    return json.loads(json.dumps({"benchmarks": [{**one, **changes}]}))


def test_a_benchmark_becomes_the_row_of_its_point():
    (row,) = rows_of(document(), threads=2)
    assert (row.subject, row.passage, row.length, row.batch) == ("softmax:sdpa", "fwd_bwd", 48, 2)
    assert row.timing is not None
    assert row.timing.samples == (0.1, 0.2, 0.3)
    assert row.timing.median == 0.2
    assert row.environment.threads == 2


@pytest.mark.parametrize("changes", [{"extra_info": {}}, {"stats": {}}])
def test_a_benchmark_without_place_or_samples_is_an_error_in_words(changes):
    with pytest.raises(CabError, match="has no `extra_info` of CAB or no samples"):
        rows_of(document(**changes), threads=1)


@pytest.mark.slow
def test_the_suite_writes_rows(tmp_path):
    target = tmp_path / "bench.json"
    chosen = ("tests/benchmarks", "-k", "256 and fwd_no_grad and linear")
    options = ("-o", "addopts=--strict-markers", "--benchmark-only", "-p", "no:cacheprovider")
    # Below a worker of xdist, pytest-benchmark would measure nothing.
    own = {k: v for k, v in environment().items() if not k.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen, *options, f"--benchmark-json={target}"],
        cwd=REPOSITORY,
        env=own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_rows(target.with_suffix(".jsonl"))
    assert row.subject == "linear:chunked"
    assert row.timing is not None
    assert len(row.timing.samples) == 20
