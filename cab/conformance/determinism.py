"""Determinism: equal inputs give equal outputs, and the state dict is complete."""

import ast
import inspect
import io
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from cab.conformance import afterwards, layouts, training
from cab.conformance.law import Finding, Law, Said, largest, scale_of
from cab.conformance.subject import Shape, Subject, name_of, right_padding

SAME = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Tolerance between training and evaluation, relative."""


IMPORTED = {"ctypes", "gc", "importlib", "inspect", "sys", "traceback"}
CALLED = {"__import__", "eval", "exec", "globals"}
LOOKED_AT = {"_getframe", "currentframe", "f_back", "f_locals"}
"""With these a mechanism could detect its caller."""


def run(subject: Subject) -> Said:
    """Repeat, interleave, save and load, train and evaluate; look at the inputs afterwards."""
    yield from _looks_about(subject)
    yield from _unregistered(subject)
    yield from _evaluation(subject)
    for dtype in SAME:
        if dtype in subject.dtypes:
            yield from _training(subject.trained, dtype)
    yield from afterwards.run(subject)
    yield from training.run_modes(subject)
    yield from layouts.run(subject)


def _looks_about(subject: Subject) -> Said:
    """Outputs depend on the inputs only, not on who calls: a law or a training run.

    A test cannot detect code that behaves differently under test, so the source is searched for
    suspicious names. This catches accidents and simple cheating, not every case.
    """
    file = inspect.getsourcefile(subject.attention)
    if file is None:
        return
    for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
        line = getattr(node, "lineno", 0)
        for name in _means(node):
            yield Finding(
                f"Line {line} of {Path(file).name} uses {name}, which can reveal the caller: "
                f"outputs may depend on the inputs only"
            )
            return


def _means(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (one.name for one in names if one.name.split(".")[0] in IMPORTED)
        case ast.ImportFrom(module=str(module), level=0):
            yield from [module] if module.split(".")[0] in IMPORTED else []
        case ast.Name(id=name):
            yield from [name] if name in CALLED else []
        case ast.Attribute(attr=name):
            yield from [name] if name in LOOKED_AT else []


def _unregistered(subject: Subject) -> Said:
    """What a module keeps beside its parameters and buffers is not moved, saved or counted."""
    module = subject.build(subject.typical(70)[-1])
    kept = (*module.modules(), *module.parameters(), *module.buffers())
    known = {id(one) for one in kept}
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if any(id(one) not in known for one in _within(value)):
                yield Finding(
                    f"{'.'.join(filter(None, (name, attribute)))} holds a tensor or module that "
                    f"PyTorch does not track, so it is not moved, saved or counted: make it a "
                    f"buffer or parameter, or use a ModuleList or ParameterList"
                )
                return


def _within(value: object) -> Iterator[Tensor | nn.Module]:
    """The tensors and modules in plain containers."""
    match value:
        case Tensor() | nn.Module():
            yield value
        case dict():
            yield from _within([*value.values()])
        case list() | tuple() | set() | frozenset():
            for one in value:
                yield from _within(one)


@torch.no_grad()
def _evaluation(subject: Subject) -> Said:
    shape = subject.typical(70)[-1]
    module = subject.build(shape)
    x = subject.draw(3, shape.length, subject.dim, seed="stream")
    context = subject.context(3)
    kept = [one.clone() for one in (x, context) if one is not None]

    def answer(seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            out: Tensor = module(x, context)
        return out

    first = answer(1)
    if not first.equal(again := answer(1)):
        yield Finding(
            "A second call with the same input gives another output", largest(again - first)
        )
    elif not first.equal(again := answer(2)):
        yield Finding(
            "The output in evaluation depends on PyTorch's global random state",
            largest(again - first),
        )
    module(subject.draw(3, shape.length, subject.dim, seed="another"), context)
    if not first.equal(again := answer(1)):
        yield Finding(
            "A call with another input changes the output of later calls", largest(again - first)
        )
    if not all(map(torch.equal, (x, context)[: len(kept)], kept)):  # type: ignore[arg-type]
        yield Finding("forward modifies its inputs in place")

    yield from _round_trip(subject, first, x, context)


def _training(subject: Subject, dtype: torch.dtype) -> Said:
    """Without dropout, training gives the values and gradients of evaluation, beside padding too.

    What a forward pass in training learns (a centroid) stands in the state dict, so that a module
    set back by it answers as before. Thereby what the other laws find in evaluation holds in
    training.
    """
    shape = subject.far[0] if dtype == torch.float32 or subject.card.needs_grid else Shape(131)
    keys = subject.draw(3, shape.length, subject.dim, seed="keys", dtype=dtype)
    queries = subject.draw(3, 9, subject.dim, seed="queries", dtype=dtype)
    mask = right_padding([shape.length, shape.length - 40, shape.length // 2], shape.length)
    mask = mask.to(subject.device)
    module = subject.build(
        shape, dtype=dtype, context=shape.length, options=subject.without_dropout
    )
    saved = {name: value.clone() for name, value in module.state_dict().items()}
    drawn = False

    def answer(turn: int = 0) -> list[Tensor]:
        nonlocal drawn
        torch.manual_seed(1)  # in a fork of the state; also who sets a seed of its own shows
        before = torch.get_rng_state()
        found = subject.respond(module, *(one.roll(turn, 0) for one in (keys, queries, mask)))
        drawn |= not torch.get_rng_state().equal(before)
        return found

    expected = answer()
    module.train()
    for said in (
        "Outputs in training and evaluation differ",
        "A training batch changes the outputs of the next one",
    ):
        for place, (one, other) in enumerate(zip(expected, answer(), strict=True)):
            moved = largest(other - one) / max(scale_of(one), 1e-6)
            if moved > SAME[dtype]:
                what = "in gradients" if place else "in values"
                yield Finding(
                    f"{said} without dropout, {what} ({shape}, {name_of(dtype)}, relative)",
                    moved,
                    SAME[dtype],
                )
                return
        answer(1)
        module.load_state_dict(saved)
    if drawn:
        yield Finding("forward uses or seeds PyTorch's global random generator")


def _round_trip(subject: Subject, first: Tensor, x: Tensor, context: Tensor | None) -> Said:
    shape = subject.typical(70)[-1]
    saved = io.BytesIO()
    torch.save(subject.build(shape).state_dict(), saved)
    saved.seek(0)
    # Another seed draws other parameters and, if a projection is not saved, another projection.
    restored = subject.build(shape, seed=7)
    restored(x, context)  # what is kept from a call must give way to what is loaded
    restored.load_state_dict(torch.load(saved, weights_only=True))
    out = restored(x, context)
    if not first.equal(out):
        yield Finding(
            "A module restored from its state dict gives different outputs: something drawn at "
            "construction or in a call is neither a parameter nor a buffer of the saved module",
            largest(out - first),
        )


LAW = Law(
    "determinism",
    "evaluation is repeatable, the state dict is complete, training differs by dropout only",
    run,
)
