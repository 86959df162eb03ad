"""Gradients: autograd's derivative is correct, and every parameter receives one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cab.conformance import curvature
from cab.conformance.law import Finding, Law, Said
from cab.conformance.subject import Shape, Subject, name_of, right_padding, shares_memory

DRAWS = 3
LARGE, SMALL = 100.0, 0.01
STEPS = {torch.float64: (1e-6,), torch.float32: (1e-2, 1e-3, 1e-4)}
"""Of central differences along directions of length 1; one of them must agree.

In float32 a short step meets rounding, and a long one bends or meets an edge.
"""
FAR_STEPS = {torch.float64: (1e-6,), torch.float32: (1e-3, 1e-4, 1e-5)}
"""The same along directions with one standard normal number for each element."""
ALLOWED = {torch.float64: 1e-3, torch.float32: 3e-2}
"""Difference between both derivatives, relative to the size of their parts."""
NEGLIGIBLE = {torch.float64: 1e-5, torch.float32: 1e-2}
"""Slopes below this are compared by their difference: a difference of outputs rounds."""


def run(subject: Subject) -> Said:
    """Check derivatives against differences, that no parameter is dead, that all are finite."""
    shapes = [shape for shape in subject.shapes() if 5 <= shape.length <= 70]
    yield from _writable(subject, shapes[0])
    if subject.card.gradients == "exact" and subject.widest in subject.dtypes:
        for shape in (shapes[0], shapes[-1]):
            yield from _derivatives(subject, shape)
        yield from _along(subject.trained)
        if subject.widest == torch.float64:  # differences of gradients round too much in less
            yield from curvature.run(subject)
    yield from _trained(subject, shapes[-1])
    for dtype in subject.dtypes:
        if dtype != torch.float64:
            for scale in (LARGE, SMALL):
                yield from _finite(subject, shapes[-1], dtype, scale)


def _writable(subject: Subject, shape: Shape) -> Said:
    """Each element of a parameter has memory of its own, else no optimiser can update it."""
    # Another precision than the constructor's would copy them.
    made = subject.build(shape, dtype=torch.float32, moved=False)
    bad = [n for n, p in made.named_parameters() if p.requires_grad and shares_memory(p)]
    if bad:
        yield Finding(
            f"Elements of {', '.join(bad)} share memory, as in an expanded tensor, so no "
            f"optimiser can update them: copy the values (clone) before they become a parameter"
        )


def _draws(subject: Subject, chosen: int) -> int:
    """How many draws are tried, of which one must agree.

    A choice may flip within the step of a difference, so there are more where content chooses. In
    float32 steps are so long that an edge is often met, and most choices flip: nothing is
    compared there.
    """
    if subject.widest == torch.float64:
        return chosen if subject.card.sees == "chosen" else 1
    return 0 if subject.card.sees == "chosen" else 3


def _derivatives(subject: Subject, shape: Shape) -> Said:
    """Compare directional derivatives with central differences, for each leaf alone."""
    problem = ""
    for draw in range(_draws(subject, 2)):
        problem = _derivatives_once(subject, shape, draw)
        if not problem:
            return
    if problem:
        yield Finding(f"{problem} at {shape} ({name_of(subject.widest)})")


def _derivatives_once(subject: Subject, shape: Shape, draw: int) -> str:
    """Return what is wrong, with a padding mask, or nothing."""
    module = subject.build(shape, seed=draw)
    x = subject.draw(2, shape.length, subject.dim, seed=("stream", draw)).requires_grad_()
    context = subject.context(2, seed=("context", draw))
    keys = shape.length if context is None else context.shape[1]
    mask = right_padding([keys, keys - 2], keys, subject.device)
    leaves = {"x": x, **({} if context is None else {"context": context.requires_grad_()})}
    leaves |= {name: p for name, p in module.named_parameters() if p.requires_grad}

    out = module(x, context, key_padding_mask=mask)
    if not out.requires_grad:
        return ""
    up = subject.draw(*out.shape, seed="from above")
    slopes, again = (
        torch.autograd.grad(
            (out * up).sum(), list(leaves.values()), retain_graph=True, materialize_grads=True
        )
        for _ in range(2)
    )
    for (name, leaf), slope, second in zip(leaves.items(), slopes, again, strict=True):
        if not slope.equal(second):
            return f"A second backward pass gives another gradient of {name}"
        way = subject.draw(*leaf.shape, seed=("way", name))
        way = way / way.norm().clamp(min=1e-9)
        size = max((slope * way).norm().item(), NEGLIGIBLE[subject.widest])
        stated, limit = _total(slope * way), ALLOWED[subject.widest] * size
        for step in STEPS[subject.widest]:
            measured = _difference(
                lambda: module(x, context, key_padding_mask=mask) * up, [leaf], [way], step
            )
            if abs(measured - stated) <= limit:
                break
        else:
            return (
                f"The derivative along a random direction of {name} is {stated:.6g}, but a "
                f"central difference gives {measured:.6g},"
            )
    return ""


@torch.no_grad()
def _difference(
    answer: Callable[[], Tensor], leaves: Sequence[Tensor], ways: Sequence[Tensor], step: float
) -> float:
    """The central difference of an answer's sum along ways, one for each leaf."""
    kept, ends = [leaf.clone() for leaf in leaves], []
    for move in (step, -step, 0.0):  # the last leaves them as they were
        for leaf, start, way in zip(leaves, kept, ways, strict=True):
            leaf.copy_(start + move * way)
        ends.append(_total(answer()) if move else 0.0)
    return (ends[0] - ends[1]) / (2 * step)


def _total(x: Tensor) -> float:
    """The sum of all elements, added in float64."""
    return float(x.double().sum().item())


def _along(subject: Subject) -> Said:
    """In training, without a mask, far: the derivative along one direction of all leaves."""
    shape, problem = subject.far[0], ""
    for draw in range(_draws(subject, 3)):
        problem = _along_once(subject, shape, draw)
        if not problem:
            return
    if problem:
        yield Finding(
            f"In training, autograd's derivative along a random direction differs from a central "
            f"difference at {shape}: {problem}"
        )


def _along_once(subject: Subject, shape: Shape, draw: int) -> str:
    """Return both derivatives, or nothing if they agree."""
    module = subject.build(shape, seed=draw, options=subject.without_dropout).train()
    x = subject.draw(1, shape.length, subject.dim, seed=("stream", draw)).requires_grad_()
    context = subject.context(1, seed=("context", draw))
    others = [] if context is None else [context.requires_grad_()]
    leaves = [x, *others, *(p for p in module.parameters() if p.requires_grad)]
    ways = [subject.draw(*leaf.shape, seed=("way", i)) for i, leaf in enumerate(leaves)]
    out = module(x, context)
    if not out.requires_grad:
        return ""
    up = subject.draw(*out.shape, seed="from above")
    slopes = torch.autograd.grad((out * up).sum(), leaves, materialize_grads=True)
    parts = [slope * way for slope, way in zip(slopes, ways, strict=True)]
    stated, size = sum(map(_total, parts)), sum(p.norm().item() ** 2 for p in parts) ** 0.5
    for step in FAR_STEPS[subject.widest]:
        measured = _difference(lambda: module(x, context) * up, leaves, ways, step)
        if abs(measured - stated) <= ALLOWED[subject.widest] * max(size, 1e-9):
            return ""
    return f"{stated:.6g} instead of {measured:.6g}"


def _trained(subject: Subject, shape: Shape) -> Said:
    """A parameter that never receives a gradient is dead: it is counted but does not learn.

    So is a part of a projection: an input of it that is never read, or an output of it that
    nothing uses, such as half of a head.
    """
    reached: dict[str, Tensor] = {}
    for draw in range(DRAWS):
        module = subject.build(shape, seed=draw).train()
        x = subject.draw(4, shape.length, subject.dim, seed=("stream", draw)).requires_grad_()
        out = module(x, subject.context(4, seed=("context", draw)))
        loss = out.square().sum()
        auxiliary = module.auxiliary_loss()
        if auxiliary is not None:
            loss = loss + auxiliary
        loss.backward()
        for name, p in module.named_parameters():
            if p.requires_grad and p.numel():
                slope = torch.zeros_like(p) if p.grad is None else p.grad.abs()
                reached[name] = reached.get(name, 0.0) + slope
    projections = {f"{n}.weight" for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    dead = []
    for name, slope in sorted(reached.items()):
        if not slope.any():
            dead.append(name)
        elif name in projections:
            for along, part in ((1, "outputs"), (0, "inputs")):
                if asleep := int((~slope.any(dim=along)).sum()):
                    dead.append(f"{asleep} of the {slope.shape[1 - along]} {part} of {name}")
    if dead:
        yield Finding(f"No gradient reaches {', '.join(dead)}")


def _finite(subject: Subject, shape: Shape, dtype: torch.dtype, scale: float) -> Said:
    module = subject.build(shape, dtype=dtype)
    x = (scale * subject.draw(2, shape.length, subject.dim, seed="stream")).to(dtype)
    x = x.requires_grad_()
    context = subject.context(2)
    context = None if context is None else (scale * context).to(dtype)
    out = module(x, context)
    said = f"inputs scaled by {scale:g}, {shape}, {name_of(dtype)}"
    if not out.isfinite().all():
        yield Finding(f"Outputs are not finite ({said})")
        return
    if not out.requires_grad:
        return
    out.backward(subject.draw(*out.shape, seed="from above", dtype=dtype))
    leaves = [("x", x), *module.named_parameters()]
    bad = [n for n, leaf in leaves if leaf.grad is not None and not leaf.grad.isfinite().all()]
    if bad:
        yield Finding(f"Gradients of {', '.join(bad)} are not finite ({said})")


LAW = Law(
    "gradients",
    "gradients equal central differences, reach every parameter, and are finite",
    run,
)
