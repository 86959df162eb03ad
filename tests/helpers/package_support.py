"""Installing a package into a folder, as a user installs it, without a network."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import environment


def install(source: Path, target: Path) -> None:
    """Install a package's folder with its entry points; the environment stays as it is."""
    pytest.importorskip("setuptools", "77", reason="building needs setuptools 77 or newer")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = subprocess.run(
        [*pip, *options, str(source)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
