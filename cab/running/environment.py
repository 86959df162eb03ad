"""Where and how a cell runs: the environment and the provenance of a record."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import cab
from cab.records.fields import LONGEST_NAME
from cab.records.store import Environment
from cab.records.text import clean


def describe(device: str, threads: int, processes: int = 1) -> Environment:
    """Describe this machine as it is seen from the current process (torch is imported)."""
    import torch

    on_cuda = device.startswith("cuda")
    return Environment(
        device=device.split(":")[0],
        accelerator=clean(torch.cuda.get_device_name(), LONGEST_NAME) if on_cuda else "none",
        cpu=clean(cpu_model(), LONGEST_NAME),
        cores=usable_cores(),
        threads=threads,
        processes=processes,
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        triton=installed_version("triton"),
        cab=cab.__version__,
    )


def usable_cores() -> int:
    """How many cores this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


@functools.cache
def cpu_model() -> str:
    """The processor's name, as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


@functools.cache
def installed_version(package: str) -> str | None:
    """The installed version of a package, or None; the package is not imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """Return (revision, dirty) of the clone that CAB runs from, or (None, None) without one."""
    root = Path(cab.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision, bool(_git(root, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    # Without locks that are not needed: whoever is killed meanwhile would leave one behind, and
    # the user's next commit would be refused.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
