"""`cab sweep --executor ray` on a real cluster of two nodes, one of which is killed."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cli_support import cab, environment, finish, start_cab, wait_until, write_variant
from sweep_support import command, plug_in, stored

from cab.records.store import RecordStore
from cab.running.executors.ray import RayExecutor, _Tasks

pytest.importorskip("ray")

MEMORY = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    ours = environment(**plug_in(tmp_path), RAY_USAGE_STATS_ENABLED="0")
    with mock.patch.dict(os.environ, ours, clear=True):
        made = Cluster(initialize_head=True, head_node_args=MEMORY)
        try:
            yield made
        finally:
            made.shutdown()


@pytest.mark.slow
def test_a_node_that_is_killed_costs_no_cell_and_doubles_none(
    cluster: Any, tmp_path: Path
) -> None:
    node = cluster.add_node(**MEMORY)
    cluster.wait_for_nodes()
    # Each cell says where it runs. Those of the second node wait until it is killed.
    log, gate = tmp_path / "log", tmp_path / "gate"
    gate.touch()
    attend = (
        "if getattr(self, 'told', None) is None:\n"
        "            self.told = os.environ.get('RAY_NODE_ID', '') or os.getppid()\n"
        f"            open({str(log)!r}, 'a').write(f'{{self.told}} {{os.getpid()}}\\n')\n"
        f"        while os.path.exists({str(gate)!r}): time.sleep(0.05)\n"
        "        return q"
    )
    path = write_variant(tmp_path, "tells", attend)
    where = ("--executor", "ray", "--address", cluster.address, "--include", path)
    sweep = command(tmp_path / "store", *where, variant="tells", seeds=6)
    process = start_cab(*sweep, cwd=tmp_path, **plug_in(tmp_path))
    assert wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 2, 180), (
        finish(process)
    )
    running = [line.split()[1] for line in log.read_text().splitlines()]
    cluster.remove_node(node, allow_graceful=False)  # a cell was running on either node
    # Its process outlives its node for a moment, in which it could still bring its cell to an end.
    assert wait_until(lambda: not all(Path("/proc", pid).exists() for pid in running), 60)
    gate.unlink()
    said = finish(process, 300)
    assert said.code == 0, said.err
    assert [one["state"] for one in said.document["cells"]] == ["ran"] * 6
    assert {one["status"] for one in said.document["cells"]} == {"ok"}
    ended = [line for line in said.err.splitlines() if " error " in line]
    assert len(ended) == 6
    assert len(log.read_text().splitlines()) == 7  # one cell ran again
    assert len(stored(tmp_path / "store")) == 6
    records, _ = RecordStore(tmp_path / "store").load()
    assert Counter(record.seed for record in records) == dict.fromkeys(range(6), 1)


@pytest.mark.slow
def test_a_cluster_of_its_own_gives_the_records_of_a_local_sweep(tmp_path: Path) -> None:
    plugged = plug_in(tmp_path)
    sweep = command(tmp_path / "store", "--executor", "ray")
    said = cab(*sweep, cwd=tmp_path, timeout=300, **plugged)
    assert said.code == 0, said.err
    here = cab(*command(tmp_path / "here"), cwd=tmp_path, **plugged)
    assert here.code == 0
    assert len(stored(tmp_path / "store")) == 3
    assert stored(tmp_path / "store") == stored(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_without_an_address_a_cluster_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    sweep = command(tmp_path / "store", "--executor", "ray", seeds=1)
    said = cab(*sweep, cwd=tmp_path, timeout=300, **plug_in(tmp_path))
    assert said.code == 0, said.err
    assert len(stored(tmp_path / "store")) == 1


@pytest.mark.slow
def test_what_no_node_has_room_for_is_said_and_what_fits_runs(tmp_path: Path) -> None:
    plugged = plug_in(tmp_path)
    sweep = command(tmp_path / "store", "--executor", "ray", "--threads", 2, seeds=1)
    ours = [word if word != 2 else 1 for word in sweep[: sweep.index("--threads")]]
    said = cab(*ours, "--threads", 2, cwd=tmp_path, timeout=300, **plugged)  # of one worker
    assert said.code == 0, said.err
    assert len(stored(tmp_path / "store")) == 1
    said = cab(*ours, "--device", "cuda", "--force", cwd=tmp_path, timeout=120, **plugged)
    assert said.code == 2
    assert "No node of the Ray cluster has 1 CPU and 1 GPU, which each cell needs." in said.err


def test_what_fails_on_a_node_that_is_there_is_no_lost_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    def fails(reference: str) -> None:
        if reference == "task":
            raise ray.exceptions.RayTaskError("run_job", "Traceback\nOSError: no pipe", OSError())
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "get", fails)
    tasks = _Tasks(RayExecutor(), {"task": "a", "lost": "b"})
    assert tasks._ended("task").outcome.message == (
        "The cell could not be started on its node: OSError: no pipe"
    )
    assert "Ray lost the cell's worker 4 times" in tasks._ended("lost").outcome.message


def test_a_task_takes_a_gpu_a_part_of_one_or_several() -> None:
    assert RayExecutor("cuda").gpus == 1
    assert RayExecutor("cuda", cells_per_gpu=4).gpus == 0.25
    assert RayExecutor("cuda", processes=3).gpus == 3
    assert RayExecutor("cpu", processes=3).gpus == 0


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    sweep = command(tmp_path / "store", "--executor", "ray", "--address", "nowhere")
    said = cab(*sweep, cwd=tmp_path, timeout=120, **plug_in(tmp_path))
    assert said.code == 2
    assert "There is no Ray cluster at nowhere" in said.err
    assert "Traceback" not in said.err
