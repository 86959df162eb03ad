"""Checks of outputs before and after timing, on new random inputs: wrong results get no time.

An implementation is compared with its operator's float64 reference, in the output and every
gradient. A variant is checked against the laws elsewhere (`cab.running.gate`); here its output is
compared with that of a fresh copy.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cab.errors import CabError
from cab.measure.built import Built, BuiltOperator, BuiltVariant, build, refill
from cab.measure.operators import choose
from cab.measure.passes import Passage
from cab.measure.points import MechanismName, Point
from cab.seeding import generator

TIMES = 2.0
"""An implementation may have this many times the rounding error of the definition in its dtype."""
SLACK = 8
"""Further units in the last place of the largest value that are allowed."""
VANISHING = 0.1
"""Errors are relative to at least this share of the largest value of output and gradients."""
LENGTH, BATCH = 130, 2
ROWS = 24
"""Queries that are compared in a timed call."""
NEAR: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-3,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""Allowed relative error of timed calls, whose length is too large to run the definition."""


class Wrong(CabError):
    """A mechanism gives wrong results; it is not timed."""


@dataclass(frozen=True)
class Checked:
    """The largest error relative to what was allowed, over the output and every gradient."""

    error: float
    limit: float


def check_implementation(name: MechanismName, point: Point, seed: object) -> Checked | None:
    """Compare an implementation with its float64 reference at a small size, twice.

    The second call gets other numbers in the same tensors, which finds cached outputs.

    Raises:
        Wrong: an output or a gradient is off by more than allowed, or not finite.
    """
    if not name.operator:
        return None
    mechanism = build(name, _small(point))
    assert isinstance(mechanism, BuiltOperator)
    inputs, worst = mechanism.draw((seed, "first")), Checked(0.0, 1.0)
    for turn in ("first", "second"):
        if turn == "second":
            refill(inputs, mechanism.draw((seed, "second")))
        for what, error, limit in _errors(mechanism, inputs):
            if not error <= limit:
                raise Wrong(
                    f"{name.label} is wrong at {mechanism.point.title}, {turn} call: the relative "
                    f"error of {what} is {error:.2g} ({limit:.2g} is allowed)."
                )
            if error / limit > worst.error / worst.limit:
                worst = Checked(error, limit)
    return worst


def check_timed(passage: Passage, last_sample: object, last_result: object, seed: object) -> None:
    """Compare timed outputs with the float64 reference (a variant: with a fresh copy of it).

    First the output of the last sample, then outputs for new numbers in the same tensors.

    Raises:
        Wrong: an output is off by more than allowed, or not finite.
    """
    mechanism = passage.mechanism
    if passage.name in ("prefill", "decode") and isinstance(mechanism, BuiltVariant):
        _must_be_finite(mechanism, last_result)
        return
    with torch.no_grad():
        if isinstance(last_result, Tensor) and passage.name != "bwd":
            given = passage.numbers(last_sample)
            _compare_timed(mechanism, given, last_result, "the last timed output, after timing,")
        for i, given in enumerate(passage.inputs):
            refill(given, mechanism.draw((seed, "after", i)))
            out = mechanism.forward(given)
            _compare_timed(mechanism, given, out, "an output for new inputs after timing")
    _must_be_finite(mechanism, last_result)


def _small(point: Point) -> Point:
    keys = min(point.keys, LENGTH - 29) if point.keys else 0
    if point.passage == "decode":
        keys = min(point.keys or point.length, LENGTH)
    length = min(point.length, LENGTH)
    return replace(point, length=length, keys=keys, batch=min(point.batch, BATCH))


def _errors(
    mechanism: BuiltOperator, inputs: Mapping[str, Tensor]
) -> Iterator[tuple[str, float, float]]:
    """Yield (what, error, limit) of the output and, only then, of each gradient."""
    case, operator = mechanism.case, mechanism.operator
    rows = torch.arange(case.queries, device=mechanism.point.device)
    wide = {name: x.detach().double() for name, x in inputs.items()}
    plain = choose(operator, operator.plain, case).prepare(case)
    differentiable = mechanism.implementation.differentiable
    eps = torch.finfo(getattr(torch, mechanism.point.dtype)).eps
    true = _results(lambda given: operator.oracle(given, case, rows), wide, differentiable)
    rounded = _results(lambda given: plain(**given), inputs, differentiable)
    truths, rounding = dict(true), dict(rounded)
    # A gradient that vanishes (of a query that sees one key) has no scale of its own.
    least = VANISHING * max(float(truth.abs().amax()) for truth in truths.values())
    _poison(truths["the output"], inputs)
    for what, got in _results(mechanism.forward, inputs, differentiable):
        own = _error(rounding[what], truths[what], least)
        yield what, _error(got, truths[what], least), TIMES * own + SLACK * eps


def _results(
    function: Callable[[Mapping[str, Tensor]], Tensor],
    inputs: Mapping[str, Tensor],
    differentiable: bool,
) -> Iterator[tuple[str, Tensor]]:
    given = {name: x.detach().requires_grad_(differentiable) for name, x in inputs.items()}
    with torch.set_grad_enabled(differentiable):
        out = function(given)
    yield "the output", out.detach()
    if differentiable:
        above = torch.randn(out.shape, generator=generator("above"), dtype=torch.float64)
        gradients = torch.autograd.grad(out, list(given.values()), above.to(out))
        for name, gradient in zip(given, gradients, strict=True):
            yield f"the gradient of {name}", gradient


def _error(got: Tensor, truth: Tensor, least: float = 0.0) -> float:
    """Return the largest difference, relative to the largest true entry or to `least`."""
    return _largest(got.double() - truth, truth.abs().amax().clamp(min=max(least, 1e-30)))


def _poison(like: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Fill with NaN the memory that the next output is likely to reuse."""
    for _ in range(3):
        torch.full(
            like.shape, torch.nan, device=like.device, dtype=next(iter(inputs.values())).dtype
        )


def _largest(difference: Tensor, scale: Tensor) -> float:
    """Return the largest entry in units of the scale; infinite if one is NaN."""
    value = (difference.abs().amax() / scale).item()
    return value if value == value else float("inf")


def _compare_timed(mechanism: Built, inputs: Mapping[str, Tensor], out: Tensor, what: str) -> None:
    given = {name: x.detach() for name, x in inputs.items()}
    if isinstance(mechanism, BuiltOperator):
        queries = mechanism.case.queries
        rows = (
            torch.linspace(0, queries - 1, min(ROWS, queries), device=out.device).long().unique()
        )
        expected = mechanism.operator.oracle(given, mechanism.case, rows)
        got = out.detach()[:, :, rows].double()
    else:
        assert isinstance(mechanism, BuiltVariant)
        twin = build(mechanism.name, mechanism.point)
        assert isinstance(twin, BuiltVariant)
        twin.module.load_state_dict(mechanism.module.state_dict())
        expected = twin.forward({name: x.clone() for name, x in given.items()}).double()
        got = out.detach().double()
    error, limit = _error(got, expected), NEAR[out.dtype]
    if not error <= limit:
        raise Wrong(
            f"{mechanism.name.label} is wrong at {mechanism.point.title}: the relative error of "
            f"{what} is {error:.2g} ({limit:.2g} is allowed). It caches outputs, or it is wrong "
            f"at this length."
        )


def _must_be_finite(mechanism: Built, result: object) -> None:
    from torch.utils._pytree import tree_leaves

    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not leaf.isfinite().all():
            raise Wrong(f"{mechanism.name.label} returned NaN or infinity while it was timed.")
