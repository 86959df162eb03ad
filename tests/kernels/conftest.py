"""What the tests of kernels share."""

import sys
from pathlib import Path

import pytest
import torch

# `interpreted` and `ahead_of_time` are imported by their own names from the folders below.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def interpreter(monkeypatch):
    """Have Triton's own functions interpreted too, for tests that run without a GPU."""
    from interpreted import interpret_standard_library

    interpret_standard_library(monkeypatch)


ALLOCATIONS = (
    *((torch, name) for name in ("empty", "empty_like", "empty_strided", "empty_permuted")),
    *((torch.Tensor, name) for name in ("new_empty", "new_empty_strided")),
)
"""Functions that return memory as it is found."""


def _marked(allocate):
    """Return the function with its memory filled: NaN, True, or the largest whole number."""

    def marked(*args, **kwargs):
        made = allocate(*args, **kwargs)
        with torch.no_grad():
            if made.is_floating_point() or made.is_complex():
                return made.fill_(torch.nan)
            return made.fill_(True if made.dtype == torch.bool else torch.iinfo(made.dtype).max)

    return marked


@pytest.fixture(autouse=True, scope="module")
def unwritten_memory_is_nan():
    """Fill what kernels allocate, so that what they leave unwritten is seen.

    Memory that was freed before often holds zeros or an earlier, right answer.
    """
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ALLOCATIONS:
            patch.setattr(owner, name, _marked(getattr(owner, name)))
        yield
