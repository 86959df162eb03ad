"""The kernels of flash-linear-attention as providers, where that package and a GPU are there.

Its functions (Yang, Zhang, 2024, "FLA: A Triton-Based Library for Hardware-Efficient
Implementations of Linear Attention Mechanism", github.com/fla-org/flash-linear-attention) take
(B, N, H, ..), which is how inputs lie in memory here, and return the output and a final state.
"""

import importlib
import importlib.util

import torch
from torch import Tensor

from cab.kernels.operator import Case, Provider, Run

NAMES = {"q": "q", "k": "k", "v": "v", "log_decay": "g", "strength": "beta"}
"""Its names by those of the operators here."""
WIDEST = 256


def fla_provider(module: str, function: str, **options: object) -> Provider:
    """Return the provider that calls a function of `fla.ops.MODULE`, imported when it is built.

    Scores are not scaled: an operator takes queries as they are.
    """

    def prepare(case: Case) -> Run:
        compute = getattr(importlib.import_module(f"fla.ops.{module}"), function)

        def run(**inputs: Tensor) -> Tensor:
            given = {NAMES[name]: x.transpose(1, 2) for name, x in inputs.items()}
            return compute(**given, scale=1.0, **options)[0].transpose(1, 2)

        return run

    return Provider(prepare, needs_fla)


def needs_fla(case: Case) -> str:
    """Return why flash-linear-attention runs no case like this, or nothing."""
    if not case.device.startswith("cuda"):
        return f"the kernels of flash-linear-attention run on CUDA here, not on {case.device}."
    if importlib.util.find_spec("fla") is None:
        return "flash-linear-attention is not installed; it comes with the extra `fla`."
    if not case.causal:
        return "flash-linear-attention has causal kernels only."
    if case.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"flash-linear-attention has no kernel for {case.dtype}."
    if case.width > WIDEST:
        return f"heads of width {case.width} have no kernel; the widest is {WIDEST}."
    return ""
