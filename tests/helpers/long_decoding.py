"""Decode 4,096 tokens with each variant whose state has a constant size; print what was seen.

A process of its own: with shapes checked at every call, as in the tests, it takes a hundred times
as long.
"""

import json
import re

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from cab.attention import State
from cab.conformance.check import subjects
from cab.conformance.counting import Counter
from cab.conformance.subject import Shape, Subject
from cab.formula import evaluate
from cab.registry import discover_variants
from cab.taxonomy import Pattern

STEPS, EARLY = 4096, 1024


def elements(state: State) -> int:
    parts = [leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
    return sum(part.numel() for part in parts if part.dtype != torch.bool)


@torch.no_grad()
def decode(subject: Subject) -> dict[str, object]:
    """Return elements held and peak bytes of a step, early and at the end, and what is stated."""
    module = subject.build(Shape(STEPS), dtype=torch.float32)
    tokens = subject.draw(1, STEPS, subject.dim, seed="stream", dtype=torch.float32)
    state, finite, held, peak = module.initial_state(1), True, {}, {}
    for t in range(STEPS):
        if t + 1 in (EARLY, STEPS):
            with Counter() as counter:
                y, state = module.step(tokens[:, t], state)
            held[t + 1], peak[t + 1] = elements(state), counter.peak_bytes
        else:
            y, state = module.step(tokens[:, t], state)
        finite = finite and bool(y.isfinite().all())
    heads, width = subject.geometry
    names = {**subject.config, "H": heads, "E": width, "d": heads * width}
    stated = heads * float(evaluate(subject.card.state, names))
    return {"finite": finite, "held": held, "peak": peak, "stated": stated}


def main() -> None:
    variants = discover_variants()
    seen = {}
    for card in variants.cards():
        constant = card.state and not re.search(r"\b[MN]\b", card.state)
        if constant and Pattern.CS in card.patterns:
            (subject,) = subjects(variants, card.name, [Pattern.CS], options={})
            seen[card.name] = decode(subject)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
