"""Decoding: `step` and `prefill` equal `forward`; the state has the stated size."""

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from cab.attention import Attention, State
from cab.conformance import sequences
from cab.conformance.law import Finding, Law, Measured, Said, largest, scale_of
from cab.conformance.subject import CONTEXT, Shape, Subject, name_of, right_padding
from cab.formula import evaluate

LIMITS = {torch.float64: 1e-9, torch.float32: 1e-4}
PLAIN = ("Tensor", "int", "float", "bool", "NoneType")
PADDED = [CONTEXT, 11, 1, 0]


@torch.no_grad()
def run(subject: Subject) -> Said:
    """Decode, compare, count the state, and step twice from the same state."""
    decodes = subject.build(Shape(4)).decodes
    if decodes != bool(subject.card.state):
        yield Finding(
            "The card gives the size of a decode state (state=...), but the variant has no step"
            if subject.card.state
            else "The variant has a step, but its card does not give its size (state=...)"
        )
    if not decodes:
        return
    for dtype in (d for d in subject.dtypes if d in LIMITS):
        for shape in subject.shapes() if dtype == subject.widest else subject.typical():
            yield from _equal(subject, shape, dtype)
    if subject.card.state:
        for shape in subject.typical():
            yield from _size(subject, shape)
    yield from _in_parts(subject)
    yield from _pure(subject)
    yield from _elsewhere(subject)
    yield from sequences.run(subject)


def decode(
    module: Attention, x: Tensor, context: Tensor | None, mask: Tensor | None = None
) -> tuple[Tensor, State]:
    """Answer token by token; return the outputs and the last state."""
    state = module.initial_state(x.shape[0], context, key_padding_mask=mask)
    outputs = []
    for t in range(x.shape[1]):
        y, state = module.step(x[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def _equal(subject: Subject, shape: Shape, dtype: torch.dtype) -> Said:
    module = subject.build(shape, dtype=dtype)
    x = subject.draw(4, shape.length, subject.dim, seed="stream", dtype=dtype)
    context = subject.context(4, dtype=dtype)
    masks: list[Tensor | None] = [None]
    if context is not None:
        masks.append(right_padding(PADDED, CONTEXT, subject.device))
    for mask in masks:
        if context is not None and mask is not None:
            context = context.masked_fill(mask[:, :, None], float("nan"))
        expected = module(x, context, key_padding_mask=mask)
        stepped, _ = decode(module, x, context, mask)
        difference = (stepped - expected).abs().amax(dim=(0, 2))
        moved = largest(difference) / scale_of(expected)
        if moved > LIMITS[dtype]:
            first = int((~(difference <= LIMITS[dtype] * scale_of(expected))).nonzero()[0])
            padded = "" if mask is None else " with a padded context"
            yield Finding(
                f"Decoding by step differs from forward from position {first} of {shape} "
                f"on{padded} ({name_of(dtype)}, relative)",
                moved,
                LIMITS[dtype],
            )
            return


def _in_parts(subject: Subject) -> Said:
    """A prompt that is read in parts, and continued step by step, equals the whole."""
    shape = subject.typical(70)[-1]
    module, n = subject.build(shape), shape.length
    x, context = subject.draw(4, n, subject.dim, seed="stream"), subject.context(4)
    expected = module(x, context)
    for parts in ((n,), (1, n - 1), (n // 2 + 1, 0, n - n // 2 - 1), (n - 2, 1)):
        state, outputs, at = module.initial_state(4, context), [], 0
        for length in parts:
            y, state = module.prefill(x[:, at : at + length], state)
            outputs.append(y)
            at += length
        for t in range(at, n):
            y, state = module.step(x[:, t], state)
            outputs.append(y[:, None])
        moved = largest(torch.cat(outputs, dim=1) - expected) / scale_of(expected)
        if moved > LIMITS[subject.widest]:
            lengths = ", ".join(map(str, parts))
            yield Finding(
                f"Reading {shape} by prefill in parts of {lengths} differs from forward "
                f"({name_of(subject.widest)}, relative)",
                moved,
                LIMITS[subject.widest],
            )
            return


def _size(subject: Subject, shape: Shape) -> Said:
    """Count the elements of the state's tensors (masks left out), per row and head."""
    module, heads = subject.build(shape), subject.geometry[0]
    context = subject.context(4)
    x = subject.draw(4, shape.length, subject.dim, seed="stream")
    _, state = decode(module, x, context)
    parts = [leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
    counted = sum(part.numel() for part in parts if part.dtype != torch.bool) / (4 * heads)
    bytes_ = sum(part.numel() * part.element_size() for part in parts) // 4
    names = {
        **subject.config,
        "N": shape.length,
        "M": CONTEXT if subject.pattern.cross else shape.length,
        "H": heads,
        "E": subject.geometry[1],
        "d": subject.dim,
    }
    stated = float(evaluate(subject.card.state, names))
    yield Measured("state", f"{bytes_:,} bytes per row at {shape} in float64")
    if abs(counted - stated) > 1e-6 * max(1.0, stated):
        yield Finding(
            f"After {shape} the decode state has {counted:g} elements per head, but the card's "
            f"formula {subject.card.state} gives {stated:g}"
        )


def _pure(subject: Subject) -> Said:
    """`step` must not modify its state, so that the beams of a search can share it."""
    module = subject.build(Shape(5))
    x, context = subject.draw(4, 5, subject.dim, seed="stream"), subject.context(4)
    _, state = decode(module, x[:, :3], context)
    kept = tree_map_only(Tensor, torch.clone, state)
    first, _ = module.step(x[:, 3], state)
    second, _ = module.step(x[:, 3], state)
    changed = any(
        not a.equal(b)
        for a, b in zip(tree_leaves(state), tree_leaves(kept), strict=True)
        if isinstance(a, Tensor)
    )
    if changed or not first.equal(second):
        yield Finding("step modifies the state that it is given; it must return a new one")


def _elsewhere(subject: Subject) -> Said:
    """The state is complete: another module with equal weights can continue from it."""
    first, second = (subject.build(Shape(12)) for _ in range(2))
    streams = [subject.draw(1, 12, subject.dim, seed=("stream", i)) for i in range(2)]
    context = subject.context(1)
    half, state = decode(first, streams[0][:, :6], context)
    decode(first, streams[1], context)
    outputs = [half]
    for t in range(6, 12):
        y, state = second.step(streams[0][:, t], state)
        outputs.append(y[:, None])
    expected = first(streams[0], context)
    moved = largest(torch.cat(outputs, dim=1) - expected) / scale_of(expected)
    if moved > LIMITS[subject.widest]:
        yield Finding(
            "Continuing from a state in another module with equal weights gives different "
            "outputs: the module keeps something outside the state",
            moved,
            LIMITS[subject.widest],
        )
    strange = {type(leaf).__name__ for leaf in tree_leaves(state)} - {*PLAIN}
    if strange:
        yield Finding(
            f"The decode state contains {', '.join(sorted(strange))}; use only tensors, in "
            f"tuples, lists and dictionaries"
        )


LAW = Law(
    "decoding",
    "step and prefill equal forward at every position; the state is as large as the card says",
    run,
    asks=lambda s: s.pattern.causal and (bool(s.card.state) or s.build(s.shapes()[0]).decodes),
    shrinks=True,
)
