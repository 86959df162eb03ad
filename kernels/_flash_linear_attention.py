"""The kernels of flash-linear-attention as implementations, if it is installed and there is a GPU.

Its functions (Yang, Zhang, 2024, "FLA: A Triton-Based Library for Hardware-Efficient
Implementations of Linear Attention Mechanism", github.com/fla-org/flash-linear-attention) take (B,
N, H, ..), which is the memory layout of the inputs here, and return the output and a final state.
"""

import importlib
import importlib.util

import torch
from torch import Tensor

from cab.kernels.operator import Case, Implementation, Run

NAMES = {"q": "q", "k": "k", "v": "v", "log_decay": "g", "strength": "beta"}
"""Names of arguments: CAB's, then flash-linear-attention's."""
WIDEST = 256


def fla_implementation(module: str, function: str, **options: object) -> Implementation:
    """Return an implementation that calls a function of `fla.ops.MODULE`, imported on first use.

    Scores are not scaled, as in the operators here.
    """

    def prepare(case: Case) -> Run:
        compute = getattr(importlib.import_module(f"fla.ops.{module}"), function)

        def run(**inputs: Tensor) -> Tensor:
            given = {NAMES[name]: x.transpose(1, 2) for name, x in inputs.items()}
            return compute(**given, scale=1.0, **options)[0].transpose(1, 2)

        return run

    return Implementation(prepare, needs_fla)


def needs_fla(case: Case) -> str:
    """Return why flash-linear-attention cannot run a case, or an empty text."""
    if not case.device.startswith("cuda"):
        return f"the kernels of flash-linear-attention run on CUDA, not on {case.device}."
    if importlib.util.find_spec("fla") is None:
        return "flash-linear-attention is not installed; install the extra `fla`."
    if not case.causal:
        return "flash-linear-attention has causal kernels only."
    if case.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"flash-linear-attention has no kernel for {case.dtype}."
    if case.width > WIDEST:
        return f"its kernels take heads of width {WIDEST} at most, not {case.width}."
    return ""
