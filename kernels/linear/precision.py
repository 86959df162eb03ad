"""Where the recurrent kernels decide their precision: float32 at least, autocast or not."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Answer = TypeVar("Answer")
HALF = (torch.float16, torch.bfloat16)


def in_float32(kernel: Callable[..., Answer]) -> Callable[..., Answer]:
    """Decorate a kernel: half-precision inputs are widened, and so is the answer."""

    @functools.wraps(kernel)
    def widened(first: Tensor, *inputs: Any, **options: Any) -> Answer:
        wide = tree_map_only(Tensor, _widen, (first, *inputs, options))
        with _without_autocast(first.device.type):
            return kernel(*wide[:-1], **wide[-1])

    return widened


def at_least_float32(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorate a kernel: half-precision inputs are widened, the answer has the first's dtype.

    A state summed over thousands of tokens in bfloat16 stops growing, and autocast would cut the
    products of a triangular solve to 8 bits.
    """

    wide = in_float32(kernel)

    @functools.wraps(kernel)
    def widened(first: Tensor, *inputs: Any, **options: Any) -> Tensor:
        return wide(first, *inputs, **options).to(first.dtype)

    return widened


def _widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype in HALF else x


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(device):  # tensors without data, device `meta`
        return nullcontext()
    return torch.autocast(device, enabled=False)
