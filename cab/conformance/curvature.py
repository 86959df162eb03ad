"""The second derivative is right, or it is refused: never silently wrong."""

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance.law import Finding, Said
from cab.conformance.subject import Subject

STEP = 1e-5
ALLOWED = 1e-4
"""Of the size of the derivative's parts, which may cancel."""


def run(subject: Subject) -> Said:
    """Differentiate the gradient of a residual layer along one direction of all leaves at once.

    In a residual layer the input is reached on two paths, so that a gradient that lacks one of
    them still exists. Where content chooses, two of three draws may fail: a choice may flip.
    """
    problem = ""
    for draw in range(3 if subject.card.sees == "chosen" else 1):
        problem = _once(subject, draw)
        if not problem:
            return
    yield Finding(
        f"The second derivative of x + attention(x) is wrong (float64): {problem}. An autograd "
        f"function whose backward pass is not differentiable must raise when it is asked to be"
    )


def _once(subject: Subject, draw: int) -> str:
    shape = subject.typical(70)[0]
    module = subject.build(shape, seed=draw)
    x = subject.draw(1, shape.length, subject.dim, seed=("stream", draw)).requires_grad_()
    context = subject.context(1, seed=("context", draw))
    leaves = [x, *([] if context is None else [context.requires_grad_()])]
    leaves += [p for p in module.parameters() if p.requires_grad]
    ways, others = (
        [subject.draw(*leaf.shape, seed=(name, i)) for i, leaf in enumerate(leaves)]
        for name in ("way", "other way")
    )
    try:
        slope = _slope(module, x, context, leaves, ways)
        if not slope.requires_grad:
            return ""
        second = torch.autograd.grad(slope, leaves, materialize_grads=True)
    except Exception:  # a refusal: it has no second derivative, and says so
        return ""
    parts = torch.stack([(s * w).sum() for s, w in zip(second, others, strict=True)])
    ends = []
    for step in (STEP, -2 * STEP, STEP):
        with torch.no_grad():
            for leaf, way in zip(leaves, others, strict=True):
                leaf.add_(way, alpha=step)
        ends.append(_slope(module, x, context, leaves, ways).item())
    measured, stated = (ends[0] - ends[1]) / (2 * STEP), parts.sum().item()
    if abs(measured - stated) <= ALLOWED * max(parts.norm().item(), abs(measured), 1e-3):
        return ""
    return f"autograd gives {stated:.6g}, differences of gradients give {measured:.6g}"


def _slope(
    module: Attention, x: Tensor, context: Tensor | None, leaves: list[Tensor], ways: list[Tensor]
) -> Tensor:
    """The first derivative of a loss along the ways, as a number with a graph."""
    loss = (x + module(x, context)).square().sum()
    slopes = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
    return torch.stack([(s * w).sum() for s, w in zip(slopes, ways, strict=True)]).sum()
