"""Nothing is timed that is wrong: checks before and after timing, on inputs never seen before.

A provider answers to its operator's float64 oracle, forward and in every gradient. A variant has
its proof of conformance (`cab.running.gate`); here it must still answer like a twin built anew.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cab.errors import CabError
from cab.measure.operators import choose
from cab.measure.passes import Passage
from cab.measure.points import Point, SubjectName
from cab.measure.subjects import Built, OperatorSubject, VariantSubject, build
from cab.seeding import generator

TIMES = 2.0
"""How often the rounding error of the definition, in the same dtype, a provider may have."""
SLACK = 8
"""Units in the last place beside that, of the largest value."""
VANISHING = 0.1
"""What is smaller than this share of the largest of output and gradients is measured by that."""
LENGTH, BATCH = 130, 2
ROWS = 24
"""Queries that are looked at in a timed call."""
NEAR: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-3,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""Relative error of timed calls: at full length the definition itself would not fit."""


class Wrong(CabError):
    """A subject that does not compute what it says; it gets no time."""


@dataclass(frozen=True)
class Checked:
    """The largest error relative to what was allowed, over the output and every gradient."""

    error: float
    limit: float


def check_provider(name: SubjectName, point: Point, seed: object) -> Checked | None:
    """Hold a provider against its oracle at a small size of the same point, twice.

    The second time the same tensors hold other numbers: an answer that was kept is then wrong.

    Raises:
        Wrong: an output or a gradient is off by more than allowed, or not finite.
    """
    if not name.operator:
        return None
    subject = build(name, _small(point))
    assert isinstance(subject, OperatorSubject)
    inputs, worst = subject.draw((seed, "first")), Checked(0.0, 1.0)
    for turn in ("first", "second"):
        if turn == "second":
            _refill(inputs, subject.draw((seed, "second")))
        for what, error, limit in _errors(subject, inputs):
            if not error <= limit:
                raise Wrong(
                    f"{name.label} is wrong at {subject.point.title}, {turn} call: {what} is off "
                    f"by {error:.2g} of the largest value, {limit:.2g} is allowed."
                )
            if error / limit > worst.error / worst.limit:
                worst = Checked(error, limit)
    return worst


def check_timed(passage: Passage, last_sample: int, last_result: object, seed: object) -> None:
    """Hold what was timed against the oracle (a variant: against a twin), after timing.

    First the answer of the last sample, then the same tensors with numbers never seen before.

    Raises:
        Wrong: an answer is off, or not finite.
    """
    subject = passage.subject
    if passage.name in ("prefill", "decode") and isinstance(subject, VariantSubject):
        _must_be_finite(subject, last_result)
        return
    with torch.no_grad():
        if isinstance(last_result, Tensor) and passage.name != "bwd":
            given = passage.inputs[last_sample % len(passage.inputs)]
            _compare_timed(subject, given, last_result, "the last timed answer")
        for i, given in enumerate(passage.inputs):
            _refill(given, subject.draw((seed, "after", i)))
            out = passage.forward(i)
            _compare_timed(subject, given, out, "an answer to new numbers, after timing,")
    _must_be_finite(subject, last_result)


def _small(point: Point) -> Point:
    keys = min(point.keys, LENGTH - 29) if point.keys else 0
    if point.passage == "decode":
        keys = min(point.keys or point.length, LENGTH)
    length = min(point.length, LENGTH)
    return replace(point, length=length, keys=keys, batch=min(point.batch, BATCH))


def _refill(inputs: Mapping[str, Tensor], numbers: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in inputs.items():
            tensor.copy_(numbers[name])


def _errors(
    subject: OperatorSubject, inputs: Mapping[str, Tensor]
) -> Iterator[tuple[str, float, float]]:
    """Yield (what, error, limit) of the output and, only then, of each gradient."""
    case, operator = subject.case, subject.operator
    rows = torch.arange(case.queries, device=subject.point.device)
    wide = {name: x.detach().double() for name, x in inputs.items()}
    plain = choose(operator, operator.plain, case).prepare(case)
    differentiable = subject.provider.differentiable
    eps = torch.finfo(getattr(torch, subject.point.dtype)).eps
    true = _results(lambda given: operator.oracle(given, case, rows), wide, differentiable)
    rounded = _results(lambda given: plain(**given), inputs, differentiable)
    truths, rounding = dict(true), dict(rounded)
    # A gradient that vanishes (of a query that sees one key) has no scale of its own.
    least = VANISHING * max(float(truth.abs().amax()) for truth in truths.values())
    _poison(truths["the output"], inputs)
    for what, got in _results(subject.forward, inputs, differentiable):
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
    """The largest difference, in units of the largest true entry (of `least` at least)."""
    return _largest(got.double() - truth, truth.abs().amax().clamp(min=max(least, 1e-30)))


def _poison(like: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Leave NaN in the memory that the next output is likely to get."""
    for _ in range(3):
        torch.full(
            like.shape, torch.nan, device=like.device, dtype=next(iter(inputs.values())).dtype
        )


def _largest(difference: Tensor, scale: Tensor) -> float:
    """The largest entry in units of the scale; infinite if one is not a number."""
    value = (difference.abs().amax() / scale).item()
    return value if value == value else float("inf")


def _compare_timed(subject: Built, inputs: Mapping[str, Tensor], out: Tensor, what: str) -> None:
    given = {name: x.detach() for name, x in inputs.items()}
    if isinstance(subject, OperatorSubject):
        queries = subject.case.queries
        rows = (
            torch.linspace(0, queries - 1, min(ROWS, queries), device=out.device).long().unique()
        )
        expected = subject.operator.oracle(given, subject.case, rows)
        got = out.detach()[:, :, rows].double()
    else:
        assert isinstance(subject, VariantSubject)
        twin = build(subject.name, subject.point)
        assert isinstance(twin, VariantSubject)
        twin.module.load_state_dict(subject.module.state_dict())
        expected = twin.forward({name: x.clone() for name, x in given.items()}).double()
        got = out.detach().double()
    error, limit = _error(got, expected), NEAR[out.dtype]
    if not error <= limit:
        raise Wrong(
            f"{subject.name.label} is wrong at {subject.point.title}: {what} is off by "
            f"{error:.2g} of the largest value, {limit:.2g} is allowed. It keeps answers, or it "
            f"is wrong at this length."
        )


def _must_be_finite(subject: Built, result: object) -> None:
    from torch.utils._pytree import tree_leaves

    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not leaf.isfinite().all():
            raise Wrong(f"{subject.name.label} gave numbers that are not finite when timed.")
