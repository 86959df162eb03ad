"""Budget: a mechanism must not score better only because it is larger than softmax."""

from cab.conformance.law import Finding, Law, Measured, Said
from cab.conformance.subject import LAYERS, Subject

DIM, HEADS, LENGTH, GRID = 64, 4, 256, (16, 16)
ALLOWED = 0.10
RULE = f"An entry that is more than {ALLOWED:.0%} larger is marked with its size and is ranked"
EXPANSION = 4
"""Width of the feed-forward part of the transformer layer that the budget is measured by."""


def run(subject: Subject) -> Said:
    """Compare a layer's parameters with those of the same layer around the reference."""
    assert subject.reference is not None
    geometry = {
        "dim": DIM,
        "heads": HEADS,
        "pattern": subject.pattern,
        "max_length": LENGTH,
        "layer": subject.layer,
        "layers": LAYERS,
    }
    config = subject.build(subject.shapes()[-1]).config
    grid = GRID if subject.card.needs_grid else None
    own = _parameters(subject.attention(config, grid=grid, **geometry))  # type: ignore[arg-type]
    reference = _parameters(subject.reference(None, **geometry))  # type: ignore[arg-type]
    feed_forward = 2 * EXPANSION * DIM * DIM
    more = (own - reference) / (reference + feed_forward)
    yield Measured("parameters", f"{own:,} ({more:+.1%} of a layer with softmax)")
    if more > ALLOWED:
        yield Finding(
            f"A layer of width {DIM} has {more:.1%} more parameters than with "
            f"{subject.reference.card.name}. {RULE}"
        )


def _parameters(module: object) -> int:
    return sum(p.numel() for p in module.parameters())  # type: ignore[attr-defined]


LAW = Law(
    "budget",
    "at most 10 % more parameters than the same layer with softmax attention",
    run,
    asks=lambda subject: subject.reference is not None,
    gates=False,
    rounds=False,
)
