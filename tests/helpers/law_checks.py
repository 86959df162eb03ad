"""What the ledger of law checks says was checked: all laws, one variant in one pattern.

The ledger holds the hash of this file, so that a change of it has every variant checked again.
"""

import torch

from cab.conformance.check import LAWS, check, subjects
from cab.conformance.cost import exponent
from cab.conformance.counting import count
from cab.conformance.subject import Shape, Subject
from cab.formula import evaluate
from cab.registry import Registry
from cab.taxonomy import Pattern, VariantCard

LONG, GRID = 8192, (64, 128)
CHECKED = (*(law.name for law in LAWS), f"memory at {LONG} tokens")


def broken_laws(variants: Registry[VariantCard], name: str, pattern: Pattern) -> list[str]:
    """Hold a variant with its default settings against every law; return what breaks one."""
    examined = subjects(variants, name, [pattern], options={})
    found = [
        f"{one.law}: {finding}" for one in check(examined, LAWS) for finding in one.findings[:2]
    ]
    return found + large_tensors(examined[0])


def large_tensors(subject: Subject) -> list[str]:
    """Say that a variant whose card claims less memory makes half as much as all pairs take."""
    if subject.card.role not in ("entry", "equivalent") or claimed_memory(subject) >= 1.6:
        return []
    shape = Shape(LONG, GRID if subject.card.needs_grid else None)
    module = subject.build(shape, dtype=torch.float32, context=LONG)
    x = torch.zeros(1, LONG, subject.dim).normal_(generator=torch.Generator().manual_seed(0))
    peak = count(module, x, x.clone() if subject.pattern.cross else None).peak_bytes
    most = 4 * LONG * LONG / 2
    return [f"{peak} bytes at {LONG} tokens, more than {most:.0f}"] if peak >= most else []


def claimed_memory(subject: Subject) -> float:
    """The exponent of the card's memory formula between 8,192 and 16,384 tokens."""
    heads, width = subject.geometry
    names = {**subject.config, "H": heads, "E": width, "d": heads * width}
    names |= {"causal": subject.pattern.causal, "cross": subject.pattern.cross}
    values = [evaluate(subject.card.memory, {**names, "N": n, "M": n}) for n in (LONG, 2 * LONG)]
    return exponent((1, 2), values)
