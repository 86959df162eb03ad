"""`cab sweep` on a real Slurm: a controller and a node on the loopback."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import cab, finish, process_group, start_cab, wait_until, write_variant
from slurm_cluster import Cluster, cluster, missing
from support import REPOSITORY
from sweep_support import command, plug_in, stored

pytest.importorskip("submitit")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

SLURM = ("--executor", "slurm", "--workers", 1)
SLOW = "time.sleep(0.4); return q"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def test_an_array_of_jobs_gives_the_records_of_a_sweep_here(
    slurm: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    variables = slurm.variables | plug_in(tmp_path)
    sweep = command(store, *SLURM, "--jobs", 2, seeds=5)
    said = cab(*sweep, cwd=tmp_path, timeout=300, **variables)
    assert said.code == 0, said.err
    assert {one["state"] for one in said.document["cells"]} == {"ran"}
    assert "sacct" not in said.err
    assert cab(*command(tmp_path / "here", seeds=5), cwd=tmp_path, **variables).code == 0
    assert stored(store) == stored(tmp_path / "here")


def test_jobs_that_somebody_cancels_are_noticed_and_their_cells_run_the_next_time(
    slurm: Cluster, tmp_path: Path
) -> None:
    marker = tmp_path / "held"
    held = f"open({str(marker)!r}, 'a').close(); time.sleep(600 * ('again' not in os.environ))"
    path = write_variant(tmp_path, "held", f"{held}; return q")
    variables = slurm.variables | plug_in(tmp_path)
    more = ("--include", path, *SLURM, "--jobs", 1)
    sweep = command(tmp_path / "store", *more, variant="held", seeds=2)
    process = start_cab(*sweep, cwd=tmp_path, **variables)
    with process_group(process):
        assert wait_until(marker.exists)
        ((number, _),) = slurm.queue()
        slurm.call("scancel", number)
        said = finish(process)
    assert said.code == 1
    assert {one["state"] for one in said.document["cells"]} == {"blocked"}
    assert f"job {number} ended without a record" in said.document["cells"][0]["message"]
    again = cab(*sweep, cwd=tmp_path, **variables, again="yes")
    assert again.code == 0, again.err
    assert {one["state"] for one in again.document["cells"]} == {"ran"}


def test_ctrl_c_takes_the_jobs_out_of_the_queue(slurm: Cluster, tmp_path: Path) -> None:
    path = write_variant(tmp_path, "endless", "time.sleep(600); return q")
    sweep = command(
        tmp_path / "store", "--include", path, *SLURM, "--jobs", 3, variant="endless", seeds=3
    )
    process = start_cab(*sweep, cwd=tmp_path, **slurm.variables, **plug_in(tmp_path))
    with process_group(process) as group:
        assert wait_until(lambda: "RUNNING" in dict(slurm.queue()).values())
        os.killpg(group, signal.SIGINT)
        assert finish(process).code == 130
    assert wait_until(lambda: not slurm.queue())


def test_a_job_that_is_queued_again_goes_on_with_what_is_missing(
    slurm: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    path = write_variant(tmp_path, "slow", SLOW)
    more = ("--include", path, *SLURM, "--jobs", 1)
    sweep = command(store, *more, variant="slow", seeds=4)
    process = start_cab(*sweep, cwd=tmp_path, **slurm.variables, **plug_in(tmp_path))
    with process_group(process):
        assert wait_until(lambda: len(list(store.glob("records/*.json"))) >= 1)
        before = {path.name: path.stat().st_mtime_ns for path in store.glob("records/*.json")}
        ((number, _),) = slurm.queue()
        slurm.call("scontrol", "requeue", number)
        assert wait_until(lambda: dict(slurm.queue())[number] == "PENDING")
        # Slurm would wait two minutes, until its credentials for the first start have expired.
        slurm.call("scontrol", "update", f"JobId={number}", "StartTime=now")
        said = finish(process, 300)
    assert said.code == 0, said.err
    assert len(stored(store)) == 4
    after = {path.name: path.stat().st_mtime_ns for path in store.glob("records/*.json")}
    assert before.items() <= after.items()


def test_the_batch_script_of_the_documentation_runs_every_cell_once(
    slurm: Cluster, tmp_path: Path
) -> None:
    text = (REPOSITORY / "docs" / "slurm.md").read_text()
    (script,) = re.findall(r"^```\n(#!/bin/sh\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    store = tmp_path / "store"
    smaller = {
        "--array=1-16": "--array=1-3",
        "--cpus-per-task=8": "--cpus-per-task=1",
        "#SBATCH --gres=gpu:1\n": "",
        "cab sweep --variant all --profile standard --seeds 3": (
            f"{sys.executable} -m cab sweep --variant none,mean --task trivial --profile smoke "
            f"--unchecked --seeds 3"
        ),
        "/shared/runs": str(store),
        "--cells-per-gpu 2 ": "",
    }
    for there, here in smaller.items():
        assert script.count(there) == 1, there
        script = script.replace(there, here)
    path = tmp_path / "sweep.sh"
    path.write_text(script)
    submit = Cluster(Path(slurm.variables["SLURM_CONF"]))
    submit.variables |= plug_in(tmp_path)
    submit.call("sbatch", f"--chdir={tmp_path}", path)
    assert wait_until(lambda: not slurm.queue(), 120)
    results = stored(store)
    assert len(results) == 6
    assert {status for status, _ in results.values()} == {"ok"}
