"""Decoding of long, interleaved and later sequences, and of long ones in float16."""

import time

import torch
from torch import Tensor

from cab.conformance.law import Finding, Said, largest, scale_of
from cab.conformance.subject import CONTEXT, Shape, Subject, name_of, right_padding

LIMIT, NEAR = 1e-9, 0.05
"""How far steps in float64, and under autocast to float16, may be from forward (relative)."""
LEAST, MOST, SECONDS = 701, 2600, 3.0
"""Steps that are always compared, at most, and the time after which no more than LEAST are."""


@torch.no_grad()
def run(subject: Subject) -> Said:
    """Decode past usual caches, two sequences at once, and inputs that must stay as they are."""
    if subject.widest in subject.dtypes:
        yield from _long(subject)
    if torch.float32 in subject.dtypes:
        yield from _half(subject)
    yield from _interleaved(subject)
    yield from _unchanged(subject)


def _long(subject: Subject) -> Said:
    shape = Shape(MOST)
    module = subject.build(shape)
    x = subject.draw(1, shape.length, subject.dim, seed="stream")
    context = subject.context(1)
    expected = module(x, context)
    scale, started = scale_of(expected), time.process_time()
    state = module.initial_state(1, context)
    for t in range(shape.length):
        y, state = module.step(x[:, t], state)
        moved = largest(y - expected[:, t]) / scale
        if not moved <= LIMIT:
            yield Finding(
                f"Decoding by step differs from forward from position {t} of {shape} on "
                f"({name_of(subject.widest)}, relative)",
                moved,
                LIMIT,
            )
            return
        if t >= LEAST and time.process_time() - started > SECONDS:
            return


def _half(subject: Subject) -> Said:
    """A state that adds up many tokens loses or overflows its sums in float16."""
    if subject.card.sees == "chosen":  # rounding may choose otherwise
        return
    shape, kind = Shape(MOST), torch.device(subject.device).type
    module = subject.build(shape, dtype=torch.float32)
    x = subject.draw(1, shape.length, subject.dim, seed="stream", dtype=torch.float32)
    context = subject.context(1, dtype=torch.float32)
    expected, started, outputs = module(x, context), time.process_time(), []
    with torch.autocast(kind, torch.float16):
        state = module.initial_state(1, context)
        for t in range(shape.length):
            y, state = module.step(x[:, t], state)
            outputs.append(y)
            if t >= LEAST and time.process_time() - started > SECONDS:
                break
    difference = (torch.stack(outputs, dim=1) - expected[:, : len(outputs)]).abs().amax(dim=(0, 2))
    moved = largest(difference) / scale_of(expected)
    if not moved <= NEAR:
        first = int((~(difference <= NEAR * scale_of(expected))).nonzero()[0])
        yield Finding(
            f"Decoding by step in float16 (autocast) differs from forward in float32 from "
            f"position {first} of {shape} on (relative)",
            moved,
            NEAR,
        )


def _interleaved(subject: Subject) -> Said:
    """Two batches of sequences whose steps take turns in one module."""
    shape = Shape(40)
    module = subject.build(shape)
    streams, contexts, masks = [], [], []
    for i in range(2):
        streams.append(subject.draw(2, shape.length, subject.dim, seed=("stream", i)))
        contexts.append(subject.context(2, seed=("context", i)))
        mask = right_padding([CONTEXT - 2 - i, 3], CONTEXT, subject.device)
        masks.append(mask if subject.pattern.cross else None)
    expected = [
        subject.build(shape)(x, context, key_padding_mask=mask)
        for x, context, mask in zip(streams, contexts, masks, strict=True)
    ]
    states = [
        module.initial_state(len(x), context, key_padding_mask=mask)
        for x, context, mask in zip(streams, contexts, masks, strict=True)
    ]
    outputs: list[list[Tensor]] = [[], []]
    for t in range(shape.length):
        # The second reads in runs of four, partly by prefill.
        y, states[0] = module.step(streams[0][:, t], states[0])
        outputs[0].append(y[:, None])
        if t % 4 == 3:
            y, states[1] = module.prefill(streams[1][:, t - 3 : t], states[1])
            last, states[1] = module.step(streams[1][:, t], states[1])
            outputs[1] += [y, last[:, None]]
    for said, out, right in zip(("first", "second"), outputs, expected, strict=True):
        moved = largest(torch.cat(out, dim=1) - right) / scale_of(right)
        if not moved <= LIMIT:
            yield Finding(
                f"Of two sequences whose steps take turns, the {said} differs from forward: the "
                f"module keeps something outside the state ({name_of(subject.widest)}, relative)",
                moved,
                LIMIT,
            )
            return


def _unchanged(subject: Subject) -> Said:
    """Neither step nor prefill nor initial_state writes into what it is given."""
    module = subject.build(Shape(12))
    x, context = subject.draw(2, 12, subject.dim, seed="stream"), subject.context(2)
    mask = None
    if context is not None:
        mask = right_padding([CONTEXT, 5], CONTEXT, subject.device)
        context = context.masked_fill(mask[:, :, None], float("nan"))
    given = [one for one in (x, context, mask) if one is not None]
    kept = [one.clone() for one in given]
    state = module.initial_state(2, context, key_padding_mask=mask)
    _, state = module.prefill(x[:, :6], state)
    for t in range(6, 12):
        _, state = module.step(x[:, t], state)
    pairs = zip(given, kept, strict=True)
    if not all(one.nan_to_num().equal(other.nan_to_num()) for one, other in pairs):
        yield Finding("initial_state, step or prefill modifies its inputs in place")
