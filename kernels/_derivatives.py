"""Kernels whose backward pass is not differentiable say so, instead of a wrong second derivative.

`torch.autograd.function.once_differentiable` is not enough: `torch.autograd.grad` skips its check
when the input is reached on another path too, as in a residual layer.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch


def first_derivative_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the backward pass of an autograd function that has no second derivative.

    Raises:
        NotImplementedError: autograd is to differentiate the backward pass (create_graph=True).
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                f"{backward.__qualname__.rpartition('.')[0].strip('_')} has no second derivative: "
                f"call autograd without create_graph=True, or use a variant without this kernel."
            )
        return backward(ctx, *gradients)

    return checked
