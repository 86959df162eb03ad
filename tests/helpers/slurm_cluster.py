"""A real Slurm on the loopback: a controller and one node, of this machine's own."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cli_support import environment, wait_until
from servers import free_port

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CORES = 2

CONFIGURATION = """
ClusterName=cab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
"""No accounting: a cluster has a queue in any case."""


def missing() -> str:
    """Why there can be no Slurm here, or nothing."""
    if os.geteuid():
        return "Slurm's node starts jobs for other users: root only"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"Slurm is not installed: no {', '.join(absent)}" if absent else ""


class Cluster:
    """What the tests ask of it."""

    def __init__(self, configuration: Path) -> None:
        self.variables = {"SLURM_CONF": str(configuration)}

    def call(self, *words: object) -> str:
        """Run one of Slurm's programs; return what it prints."""
        done = self._run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_idle(self) -> bool:
        """Whether the controller answers, and has a node without work."""
        asked = self._run("sinfo", "--noheader", "--format=%T")
        return asked.returncode == 0 and "idle" in asked.stdout

    def _run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(word) for word in words],
            env=environment(**self.variables),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def queue(self) -> list[tuple[str, str]]:
        """The jobs that are queued or run: number and state."""
        lines = self.call("squeue", "--noheader", "--array", "--format=%A %T").splitlines()
        return [(number, state) for number, state in map(str.split, lines)]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run a controller and a node, and end them with all that they started."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname(),
            controller=free_port(),
            node=free_port(),
            folder=folder,
            cores=CORES,
        )
    )
    here = Cluster(configuration)
    with contextlib.ExitStack() as daemons:
        for name in ("slurmctld", "slurmd"):
            log = daemons.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [name, "-D"],
                env=environment(**here.variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            daemons.callback(process.wait)
            daemons.callback(process.terminate)
        assert wait_until(here.is_idle)
        try:
            yield here
        finally:
            for number, _ in here.queue():
                here.call("scancel", number)
            assert wait_until(lambda: not here.queue())
