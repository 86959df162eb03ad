"""Which cases the Triton kernels support, without importing Triton."""

import importlib.util

import torch

from cab.kernels.operator import Case

WIDEST = 128
"""The widest head whose tiles fit a multiprocessor."""


def needs_triton(case: Case) -> str:
    """Return why no Triton kernel runs a case, or nothing."""
    if not case.device.startswith("cuda"):
        return f"Triton kernels run on CUDA, not on {case.device}."
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it is available for Linux on x86-64."
    if case.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"there is no Triton kernel for {case.dtype}."
    if case.width > WIDEST:
        return f"the Triton kernels take heads of width {WIDEST} at most, not {case.width}."
    return ""


def needs_triton_for_values(case: Case) -> str:
    """Return why no Triton kernel runs a case whose values stay in one tile, or nothing."""
    if case.value_width > WIDEST:
        return f"the Triton kernels take values of width {WIDEST} at most, not {case.value_width}."
    return needs_triton(case)
