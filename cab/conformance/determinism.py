"""Determinism and state: equal inputs give equal outputs, and a state dict carries everything."""

import io

import torch
from torch import Tensor

from cab.conformance.law import Finding, Law, Said, largest
from cab.conformance.subject import Subject


@torch.no_grad()
def run(subject: Subject) -> Said:
    """Repeat, interleave, save and load, train and evaluate; look at the inputs afterwards."""
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
            "The same input gives another output the second time", largest(again - first)
        )
    elif not first.equal(again := answer(2)):
        yield Finding(
            "The output in evaluation moves with the global random state", largest(again - first)
        )
    module(subject.draw(3, shape.length, subject.dim, seed="another"), context)
    if not first.equal(again := answer(1)):
        yield Finding("What was computed in between moves the output", largest(again - first))
    if not all(map(torch.equal, (x, context)[: len(kept)], kept)):  # type: ignore[arg-type]
        yield Finding("forward writes into its inputs")

    yield from _round_trip(subject, first, x, context)

    module.train()
    if not first.equal(again := answer(1)) and not subject.config.get("dropout"):
        moved = largest(again - first)
        if moved > 1e-12:
            yield Finding("Training and evaluation differ without dropout", moved)


def _round_trip(subject: Subject, first: Tensor, x: Tensor, context: Tensor | None) -> Said:
    shape = subject.typical(70)[-1]
    saved = io.BytesIO()
    torch.save(subject.build(shape).state_dict(), saved)
    saved.seek(0)
    # Another seed draws other parameters and, if a projection is not saved, another projection.
    restored = subject.build(shape, seed=7)
    restored.load_state_dict(torch.load(saved, weights_only=True))
    out = restored(x, context)
    if not first.equal(out):
        yield Finding(
            "A module restored from the state dict answers differently: something drawn at "
            "construction is no parameter and no buffer",
            largest(out - first),
        )


LAW = Law(
    "determinism",
    "evaluation repeats itself, a state dict carries everything, training differs by dropout only",
    run,
)
