"""`cab sweep --executor slurm`, by submitit's executors that need no Slurm."""

import builtins
import os
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab, cab_here, write_variant
from sweep_support import command, plug_in, stored

from cab.records.store import RecordStore
from cab.running.executors.slurm import SlurmExecutor
from cab.running.executors.slurm_jobs import queued as still_queued

pytest.importorskip("submitit")

SLURM = ("--executor", "slurm", "--workers", 1)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_jobs_share_the_cells_and_write_their_records(tmp_path: Path, cluster: str) -> None:
    store = tmp_path / "store"
    sweep = command(store, *SLURM, "--slurm", f"cluster={cluster}", "--jobs", 2, seeds=5)
    said = cab(*sweep, cwd=tmp_path, timeout=300, **plug_in(tmp_path))
    assert said.code == 0, said.err
    assert [(one["seed"], one["state"]) for one in said.document["cells"]] == [
        (seed, "ran") for seed in range(5)
    ]
    assert f"in at most 2 jobs of {cluster}" in said.err
    assert len(stored(store)) == 5
    records, _ = RecordStore(store).load()
    assert len({record.provenance.invocation for record in records}) == 1
    assert {record.environment.threads for record in records} == {1}
    assert all(record.provenance.command.startswith("cab sweep") for record in records)
    again = cab(*sweep, cwd=tmp_path, **plug_in(tmp_path))
    assert {one["state"] for one in again.document["cells"]} == {"already done"}
    run = cab(*command(tmp_path / "here", seeds=5), cwd=tmp_path, **plug_in(tmp_path))
    assert run.code == 0
    assert stored(store) == stored(tmp_path / "here")


@pytest.mark.slow
def test_a_job_that_is_lost_is_named_and_its_cells_run_the_next_time(tmp_path: Path) -> None:
    # The head of the job dies, as when a node goes down; only in the first sweep.
    attend = (
        f"marker = {str(tmp_path / 'died')!r}\n"
        "        if not os.path.exists(marker):\n"
        "            open(marker, 'w').close()\n"
        "            import multiprocessing\n"
        "            os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)\n"
        "            time.sleep(600)\n"
        "        return q"
    )
    path = write_variant(tmp_path, "deadly", attend)
    more = ("--include", path, *SLURM, "--slurm", "cluster=local", "--jobs", 1)
    sweep = command(tmp_path / "store", *more, variant="deadly", seeds=3)
    said = cab(*sweep, cwd=tmp_path, timeout=300, **plug_in(tmp_path))
    assert said.code == 1
    assert {one["state"] for one in said.document["cells"]} == {"blocked"}
    assert "ended without a record" in said.document["cells"][0]["message"]
    assert str(tmp_path / "store" / "jobs") in said.document["cells"][0]["message"]
    again = cab(*sweep, cwd=tmp_path, timeout=300, **plug_in(tmp_path))
    assert again.code == 0, again.err
    assert {one["state"] for one in again.document["cells"]} == {"ran"}
    assert len(stored(tmp_path / "store")) == 3


@pytest.mark.slow
def test_a_file_that_is_no_record_blocks_its_cell_alone(tmp_path: Path) -> None:
    sweep = command(tmp_path / "store", *SLURM, "--slurm", "cluster=debug", seeds=2)
    plugged = plug_in(tmp_path)
    assert cab(*sweep, cwd=tmp_path, timeout=300, **plugged).code == 0
    bad, missing = sorted((tmp_path / "store" / "records").glob("*.json"))
    bad.write_text("{")
    missing.unlink()
    said = cab(*sweep, cwd=tmp_path, timeout=300, **plugged)
    assert said.code == 1
    assert sorted(one["state"] for one in said.document["cells"]) == ["blocked", "ran"]
    assert bad.read_text() == "{"
    assert "not a whole JSON document" in said.err


@pytest.mark.slow
def test_a_job_says_why_it_could_not_run_a_cell(tmp_path: Path) -> None:
    # The first cell edits the file, so that the second has another source than was planned.
    path = write_variant(tmp_path, "changes", "return q")
    path.write_text(
        path.read_text()
        + "\nimport os\n"
        + "if os.environ.get('SUBMITIT_EXECUTOR') and open(__file__).read().count('EDITED') < 3:\n"
        + "    open(__file__, 'a').write('EDITED = 1\\n')\n"
    )
    more = ("--include", path, *SLURM, "--slurm", "cluster=local", "--jobs", 1)
    sweep = command(tmp_path / "store", *more, variant="changes", seeds=2)
    said = cab(*sweep, cwd=tmp_path, timeout=300, **plug_in(tmp_path))
    assert said.code == 1
    blocked = [one for one in said.document["cells"] if one["state"] == "blocked"]
    assert blocked
    assert all("has changed since the run was planned" in one["message"] for one in blocked)


@pytest.mark.parametrize(
    ("options", "cpus", "gpus"),
    [({"cells_per_gpu": 3}, 6, 1), ({"processes": 2}, 2, 2), ({"workers": 5}, 10, 1)],
)
def test_a_job_asks_for_what_its_cells_use(
    options: dict[str, int], cpus: int, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    executor = SlurmExecutor(1, "cuda", threads=2, **options)._executor(tmp_path)
    asked = executor._executor.parameters
    assert (asked["cpus_per_task"], asked["gpus_per_node"]) == (cpus, gpus)


def test_jobs_that_slurm_refuses_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sbatch", "srun"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\necho 'error: invalid partition specified: nope' >&2\nexit 1\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    where = ("--executor", "slurm", "--tracking", "none", "--store", tmp_path / "store")
    said = cab_here(*SWEEP, *where)
    assert said.code == 2
    assert "Slurm did not accept the jobs" in said.err
    assert "invalid partition" in said.err
    assert "Traceback" not in said.err


SWEEP = ("sweep", "--variant", "none", "--task", "mqar", "--profile", "smoke", "--unchecked")


@pytest.mark.parametrize("name", ["submitit", "ray"])
def test_an_extra_that_is_not_installed_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = builtins.__import__

    def without(module: str, *more: Any) -> Any:
        if module == name:
            raise ImportError(name)
        return found(module, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    extra = {"submitit": "slurm", "ray": "ray"}[name]
    where = ("--executor", extra, "--tracking", "none", "--store", tmp_path / "store")
    said = cab_here(*SWEEP, *where)
    assert said.code == 2
    assert f"pip install 'comprehensive-attention-benchmark[{extra}]'" in said.err


@pytest.mark.parametrize(
    ("says", "queued"),
    [
        ("echo 7_0", True),
        ("exit 0", False),  # it knows the job, which has ended
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", True),
    ],
)
def test_a_job_is_lost_only_if_slurm_answers_that_it_is(
    says: str, queued: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n{says}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert still_queued(["7_0", "7_1"]) == queued


def test_a_setting_that_submitit_does_not_know_is_refused(tmp_path: Path) -> None:
    where = ("--executor", "slurm", "--slurm", "cluster=local", "--slurm", "slurm_partitoin=a")
    said = cab_here(*SWEEP, *where, "--tracking", "none", "--store", tmp_path / "store")
    assert said.code == 2
    assert "slurm_partitoin" in said.err
