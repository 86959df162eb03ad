"""Numerics: exact variants are exact, and approximations improve as their budget grows."""

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance import edges
from cab.conformance.law import Finding, Law, Measured, Said, largest, relative_error, scale_of
from cab.conformance.subject import Shape, Subject, name_of, right_padding
from cab.errors import CabError

TIMES = 2.0
"""How many times the reference's own rounding error an exact variant may have."""
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""What rounding may do to any other variant, as a relative error in norm."""
BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)
CURVE_LENGTH, CURVE_DRAWS = 64, 6


def run(subject: Subject) -> Said:
    """Compare with float64, also beside padding and far, with the reference, and over budgets."""
    with torch.no_grad():
        yield from _near(subject)
    yield from edges.run_long(subject)
    yield from edges.run_beyond(subject)


def _near(subject: Subject) -> Said:
    shapes = [shape for shape in subject.typical() if shape.length > 1]
    if subject.card.exact and subject.reference is not None:
        for shape in (*subject.shapes(3), *shapes):
            yield from _exact(subject, shape)
    else:
        yield from _rounding(subject, shapes[-1])
    if torch.float32 in subject.dtypes and torch.float64 in subject.dtypes:
        yield from _beside_padding(subject)
    if subject.card.budget and subject.reference is not None:
        yield from _curve(subject)


def _exact(subject: Subject, shape: Shape) -> Said:
    """Within twice the error that the reference makes in the same dtype."""
    reference = Subject(subject.reference or subject.attention, subject.pattern)
    keys = shape.length + 3
    oracle = _twin(subject, subject.build(shape, context=keys), shape, keys, torch.float64)
    x = subject.draw(4, shape.length, subject.dim, seed="stream")
    context = subject.context(4, keys)
    expected = oracle(x, context)
    for dtype in subject.dtypes:
        module = subject.build(shape, dtype=dtype, context=keys)
        twin = _twin(subject, module, shape, keys, dtype)
        given = None if context is None else context.to(dtype)
        errors = [
            largest(one(x.to(dtype), given).double() - expected) / scale_of(expected)
            for one in (module, twin)
        ]
        limit = TIMES * errors[1] + 8 * torch.finfo(dtype).eps
        if errors[0] > limit:
            yield Finding(
                f"At {shape} in {name_of(dtype)}, the error against {reference.card.name} in "
                f"float64 is too large (relative to the largest output)",
                errors[0],
                limit,
            )


def _twin(
    subject: Subject, module: Attention, shape: Shape, keys: int, dtype: torch.dtype
) -> Attention:
    """The reference with the variant's projections."""
    assert subject.reference is not None
    heads, width = subject.geometry
    longest = max(shape.length, keys)
    twin = subject.reference(
        None, dim=heads * width, heads=heads, pattern=subject.pattern, max_length=longest
    )
    own = {k: v for k, v in module.state_dict().items() if k in twin.state_dict()}
    twin.load_state_dict({name: own[name] for name in twin.state_dict()})
    return twin.to(subject.device, dtype).eval()


def _rounding(subject: Subject, shape: Shape) -> Said:
    """Without a known answer, lower precision must at least stay near float64."""
    x, context = subject.draw(2, shape.length, subject.dim, seed="stream"), subject.context(2)
    expected = subject.build(shape)(x, context)
    for dtype in subject.dtypes:
        if dtype not in NEAR:
            continue
        given = None if context is None else context.to(dtype)
        got = subject.build(shape, dtype=dtype)(x.to(dtype), given).double()
        moved = relative_error(got, expected)
        yield Measured(f"error in {name_of(dtype)}", f"{moved:.1e}")
        # A choice between near equals may fall otherwise after rounding: measured, not judged.
        if moved > NEAR[dtype] and subject.card.sees != "chosen":
            yield Finding(
                f"At {shape}, {name_of(dtype)} differs from float64 (relative)", moved, NEAR[dtype]
            )


@torch.enable_grad()
def _beside_padding(subject: Subject) -> Said:
    """float32 is what is trained: its values and gradients are those of float64, masked too."""
    if subject.card.sees == "chosen":
        return
    shape = subject.typical()[-1]
    n = shape.length
    mask = right_padding([n, n - n // 3, n // 2], n, subject.device)
    answers = []
    for dtype in (torch.float64, torch.float32):
        module = subject.build(shape, dtype=dtype, context=n)
        keys = subject.draw(3, n, subject.dim, seed="keys", dtype=dtype)
        queries = subject.draw(3, 9, subject.dim, seed="queries", dtype=dtype)
        answers.append([x.double() for x in subject.respond(module, keys, queries, mask)])
    for place, (expected, got) in enumerate(zip(*answers, strict=True)):
        limit = NEAR[torch.float32] * (10 if place else 1)
        if (moved := relative_error(got, expected)) > limit and expected.norm() > 1e-9:
            what = "a gradient" if place else "the output"
            yield Finding(
                f"With padding, {what} in float32 differs from float64 ({shape}, relative)",
                moved,
                limit,
            )
            return


def _curve(subject: Subject) -> Said:
    """The mean error against softmax attention, with the same projections, over budgets."""
    name = subject.card.budget
    standard = subject.config[name]
    grid = (8, 8) if subject.card.needs_grid else None
    shape = Shape(CURVE_LENGTH, grid)
    curve: dict[int, float] = {}
    for factor in BUDGETS:
        budget = max(1, round(standard * factor))
        try:
            errors = [_error(subject, shape, {name: budget}, draw) for draw in range(CURVE_DRAWS)]
        except (CabError, ValueError):
            continue
        curve[budget] = sum(errors) / len(errors)
    yield Measured("error over budget", {f"{name} {b}": round(e, 4) for b, e in curve.items()})
    budgets = sorted(curve)
    if len(budgets) < 2:
        yield Finding(f"Fewer than two values of {name} can be built, so there is no error curve")
    elif curve[budgets[-1]] > 1.05 * curve[budgets[0]] + 1e-9:
        yield Finding(
            f"The error against softmax grows with {name}: {curve[budgets[0]]:.3g} at "
            f"{budgets[0]}, {curve[budgets[-1]]:.3g} at {budgets[-1]}"
        )


def _error(subject: Subject, shape: Shape, options: dict[str, int], draw: int) -> float:
    keys = CURVE_LENGTH
    module = subject.build(shape, seed=draw, context=keys, options=options)
    twin = _twin(subject, module, shape, keys, torch.float64)
    x = subject.draw(2, shape.length, subject.dim, seed=("stream", draw))
    context = subject.context(2, keys, seed=("context", draw))
    expected: Tensor = twin(x, context)
    got: Tensor = module(x, context)
    return relative_error(got, expected)


LAW = Law(
    "numerics",
    "exact variants err at most twice as much as softmax; others improve with their budget",
    run,
)
