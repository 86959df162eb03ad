"""What the tests of kernels share."""

import sys
from pathlib import Path

import pytest

# `interpreted` and `ahead_of_time` are imported by their own names from the folders below.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def interpreter(monkeypatch):
    """Have Triton's own functions interpreted too, for tests that run without a GPU."""
    from interpreted import interpret_standard_library

    interpret_standard_library(monkeypatch)
