"""Sizes at the edge: no rows, no tokens, more tokens than max_length, thousands of tokens."""

import dataclasses
import time
from collections.abc import Generator

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance.law import Finding, Said, largest, relative_error, scale_of
from cab.conformance.subject import Shape, Subject, name_of
from cab.errors import CabError

MANY, MORE = 2311, 6007
GRID = (47, 61)
QUICK, SLOW = 0.05, 1.5
"""Seconds of a call at MANY tokens below which MORE are tried, and above which fewer calls are."""
CALLS = (
    (torch.float32, True),
    (torch.bfloat16, False),
    (torch.float16, False),
    (torch.float32, False),
    (torch.bfloat16, True),
)
"""Precision, and whether in training: float16 gradients may overflow rightly, without scaling.

The first three are always made."""
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.1}


def run_empty(subject: Subject) -> Said:
    """Without rows or tokens a variant returns none, or refuses in a sentence."""
    shape = subject.typical(20)[0]
    n = shape.length
    for training in (False, True):
        for rows, tokens, keys in ((0, n, 29), (2, 0, 29), (0, 0, 29), (2, n, 0), (0, n, 0)):
            if keys or subject.pattern.cross:
                yield from _empty(subject, shape, training, rows, tokens, keys)
    module = subject.build(shape)
    if not module.decodes:
        return
    with torch.no_grad():
        context = subject.context(0)
        state = module.initial_state(0, context)
        for _ in range(2):
            y, state = module.step(subject.draw(0, subject.dim, seed="token"), state)
        if y.shape != (0, subject.dim):
            yield Finding(f"step gives {tuple(y.shape)} for a batch without rows")


def _empty(
    subject: Subject, shape: Shape, training: bool, rows: int, tokens: int, keys: int
) -> Said:
    module = subject.build(shape, options=subject.without_dropout).train(training)
    x = subject.draw(rows, tokens, subject.dim, seed="stream").requires_grad_()
    context = subject.context(rows, keys)
    said = f"{rows} rows, {tokens} tokens" + (f", {keys} keys" if subject.pattern.cross else "")
    try:
        out = module(x, context)
    except (CabError, ValueError) as error:
        if len(str(error).split()) < 4:
            yield Finding(f"With {said} forward raises {error!r}, which is no sentence")
        return
    except Exception as error:
        yield Finding(
            f"With {said} forward raises {type(error).__name__}; return an output without rows or "
            f"tokens, or raise a ValueError that says what is missing"
        )
        return
    if out.shape != x.shape or not out.isfinite().all():
        yield Finding(f"With {said} the output is not finite or of shape {tuple(out.shape)}")
        return
    loss = out.sum()
    auxiliary = module.auxiliary_loss()
    if auxiliary is not None:
        loss = loss + auxiliary
    if not loss.isfinite():
        yield Finding(f"With {said} the auxiliary loss is not finite")
    elif loss.requires_grad:
        loss.backward()
        bad = [
            name
            for name, p in module.named_parameters()
            if p.grad is not None and not p.grad.isfinite().all()
        ]
        if bad:
            yield Finding(f"With {said} gradients of {', '.join(bad)} are not finite")


@torch.no_grad()
def run_beyond(subject: Subject) -> Said:
    """More tokens than max_length: the answer of a module built for them, or a sentence."""
    if subject.card.needs_grid or subject.pattern.cross:
        return
    trained = dataclasses.replace(subject, train_length=20)
    short, long = trained.build(Shape(20)), trained.build(Shape(45))
    x = subject.draw(2, 45, subject.dim, seed="stream")
    torch.manual_seed(1)  # who draws in a call is told so by the law of determinism
    try:
        got = short(x)
    except (CabError, ValueError):
        if not subject.card.fixed_length:
            yield Finding(
                "Built for max_length = 20, a module refuses 45 tokens, which its card does not "
                "say (fixed_length=True)"
            )
        return
    if {k: v.shape for k, v in short.state_dict().items()} != {
        k: v.shape for k, v in long.state_dict().items()
    }:
        return  # their parameters cannot be compared
    long.load_state_dict(short.state_dict())
    torch.manual_seed(1)
    expected = long(x)
    moved = largest(got - expected) / scale_of(expected)
    if not moved <= 1e-9:
        yield Finding(
            "Built for max_length = 20, a module answers 45 tokens otherwise than one built for "
            "45 with equal weights, and without an error (relative)",
            moved,
            1e-9,
        )


def run_long(subject: Subject) -> Said:
    """At thousands of tokens outputs and gradients are finite and near to those in float64."""
    if torch.float32 not in subject.dtypes:
        return
    grid = subject.card.needs_grid
    shape = Shape(GRID[0] * GRID[1], GRID) if grid else Shape(MANY)
    took = yield from _long(subject, shape)
    if took < QUICK and not grid:
        yield from _long(subject, Shape(MORE))


def _long(subject: Subject, shape: Shape) -> Generator[Finding, None, float]:
    started, widest = time.process_time(), subject.dtypes[0]
    expected = _answer(subject, shape, widest, widest)
    took = time.process_time() - started
    for dtype, training in CALLS if took < SLOW else CALLS[:3]:
        got = _answer(subject, shape, torch.float32, dtype, training)
        said = f"at {shape} in {name_of(dtype)}{' in training' if training else ''}"
        if dtype != torch.float32:
            said += " (autocast)"
        if not all(one.isfinite().all() for one in got):
            what = "Outputs" if not got[0].isfinite().all() else "Gradients"
            yield Finding(f"{what} are not finite {said}")
            return took
        error = relative_error(got[0].double(), expected[0])
        if error > NEAR[dtype] and subject.card.sees != "chosen":
            yield Finding(
                f"Outputs {said} differ from float64 (relative error)", error, NEAR[dtype]
            )
            return took
    return took


def _answer(
    subject: Subject,
    shape: Shape,
    dtype: torch.dtype,
    products: torch.dtype,
    training: bool = False,
) -> list[Tensor]:
    options = subject.without_dropout
    module: Attention = subject.build(shape, dtype=dtype, context=shape.length, options=options)
    module.train(training)
    x = subject.draw(1, shape.length, subject.dim, seed="stream", dtype=dtype)
    context = subject.context(1, shape.length, dtype=dtype)
    x.requires_grad_(training)
    kind = torch.device(subject.device).type
    with (
        torch.set_grad_enabled(training),
        torch.autocast(kind, products, enabled=products not in (torch.float64, torch.float32)),
    ):
        out = module(x, context)
    if not training or not out.requires_grad:
        return [out.detach()]
    above = subject.draw(*out.shape, seed="from above", dtype=out.dtype)
    return [out.detach(), *torch.autograd.grad(out, [x], above, materialize_grads=True)]
