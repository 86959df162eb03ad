"""Triton's kernels on a machine without a GPU: run by Triton's interpreter, in numpy.

Triton decides whether to interpret where a function is decorated, so kernels are imported through
`load_kernels`. With a GPU it changes nothing, and the same tests run there for real.
"""

import importlib
from types import ModuleType

import pytest
import torch
import triton
import triton.experimental.gluon  # imported at the first launch otherwise, and refuses the twins
import triton.language as tl
from triton.runtime.interpreter import InterpretedFunction

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)[: 3 if ON_GPU else 2]
"""The interpreter multiplies bfloat16 wrongly, without a word."""

LIMITS = {torch.float32: 1e-5 if ON_GPU else 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""The largest error against float64, in units of the largest expected value: a few roundings."""


def load_kernels(operator: str) -> ModuleType:
    """Import an operator's Triton kernels, interpreted unless there is a GPU."""
    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = not ON_GPU
        return importlib.import_module(f"cab.kernels.{operator}.triton_kernels")


def interpret_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace tl.sum and its kin, which are compiled ones if Triton was imported before."""
    if ON_GPU:
        return
    twins: dict[int, InterpretedFunction] = {}
    for module in (tl.standard, tl):
        for name, value in list(vars(module).items()):
            if isinstance(value, triton.JITFunction):
                twin = twins.setdefault(id(value), InterpretedFunction(value.fn))
                monkeypatch.setattr(module, name, twin)


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Draw standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def both(function, oracle, tensors):
    """Return pairs (mine, expected): the output, and each gradient of a random projection of it.

    The oracle gets the rounded inputs in float64, so what differs is the kernel's own doing.
    """
    mine = [x.detach().to(DEVICE).requires_grad_() for x in tensors]
    exact = [x.detach().double().requires_grad_() for x in tensors]
    out, expected = function(*mine), oracle(*exact)
    above = draw(*expected.shape, seed=99, dtype=out.dtype)
    gradients = torch.autograd.grad(out, mine, above.to(DEVICE))
    wanted = torch.autograd.grad(expected, exact, above.double())
    return list(zip((out.cpu(), *(g.cpu() for g in gradients)), (expected, *wanted), strict=True))


def assert_close(pairs, limit, names="o q k v"):
    """Hold every pair against the limit, finite first; say which one is off and by how much."""
    for name, (mine, expected) in zip(names.split(), pairs, strict=True):
        assert mine.shape == expected.shape, f"{name}: {mine.shape}, not {expected.shape}"
        assert mine.isfinite().all(), f"{name} is not finite"
        scale = max(1.0, expected.abs().max().item())
        error = (mine.double() - expected).abs().max().item() / scale
        assert error <= limit, f"{name} is off by {error:.1e}, limit {limit:.1e}"
