"""Liveness: outputs depend on exactly the tokens that the card says they read.

A module that returns its input or a constant passes every law that only forbids dependence.
Published test suites have accepted such modules.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance.law import Finding, Law, Measured, Said, scale_of
from cab.conformance.subject import CONTEXT, Shape, Subject
from cab.errors import counted
from cab.formula import evaluate

DRAWS = 4
"""Draws of input and parameters whose reach is joined: a product of features may be 0 once."""
MOVES = 1e-12
"""Relative movement in float64 that counts as reading."""
SHARP = 1e-6
"""Relative movement that does not fade away from one output to the next."""
RUN = 16
LEAST, LONGEST = 7, 70
"""Lengths: below the first a dilated or strided mechanism may have no other token to read."""


def run(subject: Subject) -> Said:
    """Compare the measured reach with the declared one."""
    exact = subject.card.sees != "chosen"
    for shape in subject.shapes(LONGEST) if exact else subject.typical(LONGEST):
        keys = CONTEXT if subject.pattern.cross else shape.length
        seen, asked = measure(subject, shape, keys)
        if exact:
            yield from _compare(subject, shape, seen, declared(subject, shape, keys))
        yield from _alive(subject, shape, seen, asked)
    if exact:
        for far in (subject.far[0], *subject.large):
            yield from _edge(subject, far)
    if exact and seen.numel():
        yield Measured("reads", f"{seen.double().mean().item():.0%} of all pairs at {shape}")
    else:
        yield Measured("reads", f"{seen.double().mean().item():.0%} of pairs, by choice, {shape}")


@torch.no_grad()
def _edge(subject: Subject, shape: Shape) -> Said:
    """Check the reach in a long sequence, where a window shows that a short one hides.

    Influence may fade with distance; if it ends abruptly or reaches too far, the card is wrong.
    """
    n, cross = shape.length, subject.pattern.cross
    at = torch.tensor([0, 1, n // 7, n // 3, n // 2, n - 140, n - 2, n - 1])
    moved = torch.zeros(n, len(at))
    for draw in range(2):
        module = subject.build(shape, seed=draw, context=n)
        x = subject.draw(1, n, subject.dim, seed=("stream", draw))
        context = subject.context(1, n, seed=("context", draw))
        changed = (x if context is None else context).repeat(len(at) + 1, 1, 1)
        changed[torch.arange(len(at)), at] += subject.draw(len(at), subject.dim, seed="other")
        out = module(x.expand_as(changed), changed) if cross else module(changed)
        moves = (out[:-1] - out[-1]).abs().amax(dim=2) / scale_of(out)
        moved = torch.maximum(moved, moves.T.cpu().float())
    expected = declared(subject, shape, n, at.tolist())
    # A run, since one product of features may be 0: nothing from t on, and t - 1 moves clearly.
    silent = torch.cat((expected & (moved <= MOVES), expected.new_ones(RUN, len(at))))
    silent = silent.unfold(0, RUN, 1)[:n].all(dim=2) & (torch.arange(n)[:, None] <= n - RUN)
    before = torch.cat((torch.zeros(1, len(at)), moved[:-1]))
    for wrong, said in (
        (~expected & (moved > MOVES), "but the card says that it does not read it"),
        (silent & (before > SHARP), "but the output before it does"),
    ):
        if wrong.any():
            t, s = (int(i) for i in wrong.nonzero()[0])
            verb = "depends" if moved[t, s] > MOVES else "does not depend"
            yield Finding(f"At {shape}, output {t} {verb} on position {int(at[s])}, {said}")


def declared(
    subject: Subject, shape: Shape, keys: int, asked: Sequence[int] | None = None
) -> Tensor:
    """The pairs (t, s) that the card says are read (N, M), or of some positions s alone."""
    columns_asked = range(keys) if asked is None else asked
    sees, cross = subject.card.sees, subject.pattern.cross
    if sees == "all":
        allowed = torch.ones(shape.length, len(columns_asked), dtype=torch.bool)
    else:
        names = {
            **subject.config,
            "N": shape.length,
            "M": keys,
            "H": subject.geometry[0],
            "cross": cross,
            "causal": subject.pattern.causal,
        }
        columns = shape.grid[1] if shape.grid else 1
        rows = [
            [
                bool(
                    evaluate(
                        sees,
                        {
                            **names,
                            "t": t,
                            "s": s,
                            "row_t": t // columns,
                            "column_t": t % columns,
                            "row_s": s // columns,
                            "column_s": s % columns,
                            "rows": shape.grid[0] if shape.grid else shape.length,
                            "columns": columns,
                        },
                    )
                )
                for s in columns_asked
            ]
            for t in range(shape.length)
        ]
        allowed = torch.tensor(rows)
    if subject.pattern.causal and not cross:
        allowed &= torch.arange(shape.length)[:, None] >= torch.tensor(columns_asked)
    return allowed


def measure(subject: Subject, shape: Shape, keys: int) -> tuple[Tensor, Tensor]:
    """Which outputs move with which tokens (N, M), and which with their own query (N)."""
    seen = torch.zeros(shape.length, keys, dtype=torch.bool)
    asked = torch.zeros(shape.length, dtype=torch.bool)
    for draw in range(DRAWS):
        module = subject.build(shape, seed=draw)
        x = subject.draw(1, shape.length, subject.dim, seed=("stream", draw))
        context = subject.context(1, keys, seed=("context", draw))
        source = x if context is None else context
        other = source + subject.draw(1, keys, subject.dim, seed=("other", draw))
        cross = context is not None
        seen |= _moves(module, x, context, other, source, cross).T
        if cross:
            changed = x + subject.draw(1, shape.length, subject.dim, seed=("asked", draw))
            asked |= _moves(module, x, context, changed, x, False).diagonal()
        else:
            asked |= seen.any(dim=1)
    return seen, asked


@torch.no_grad()
def _moves(
    module: Attention, x: Tensor, context: Tensor | None, other: Tensor, changed: Tensor, of: bool
) -> Tensor:
    """Row s tells which outputs move when token s of the stream (or, of the context) changes."""
    count = changed.shape[1]
    one = torch.eye(count, dtype=torch.bool, device=x.device)[:, :, None]
    perturbed = torch.cat((torch.where(one, other, changed), changed))
    fixed = None if context is None else context.expand(count + 1, -1, -1)
    streams = (x.expand(count + 1, -1, -1), perturbed) if of else (perturbed, fixed)
    out = module(*streams)
    moved = (out[:-1] - out[-1]).abs().amax(dim=2) / scale_of(out)
    return (moved > MOVES).cpu()


def _compare(subject: Subject, shape: Shape, seen: Tensor, expected: Tensor) -> Said:
    named = "context position" if subject.pattern.cross else "position"
    for wrong, said in (
        (expected & ~seen, "does not depend on"),
        (seen & ~expected, "depends on"),
    ):
        if wrong.any():
            t, s = (int(i) for i in wrong.nonzero()[0])
            claim = "reads it" if said.startswith("does") else "does not read it"
            yield Finding(
                f"At {shape}, output {t} {said} {named} {s}, but the card "
                f"(sees={subject.card.sees!r}) says that it {claim} "
                f"({counted(int(wrong.sum()), 'such pair')})"
            )


def _alive(subject: Subject, shape: Shape, seen: Tensor, asked: Tensor) -> Said:
    if subject.card.role in ("control", "no_attention") or shape.length < LEAST:
        return
    if subject.pattern.cross:
        if not seen.any():
            yield Finding(f"At {shape}, no output depends on any token of the context")
        if not asked.any():
            yield Finding(f"At {shape}, no output depends on its own query")
        return
    t, s = torch.arange(seen.shape[0])[:, None], torch.arange(seen.shape[1])
    if shape.length > 1 and not (seen & (s < t)).any():
        yield Finding(f"At {shape}, no output depends on an earlier token")
    if shape.length > 1 and not subject.pattern.causal and not (seen & (s > t)).any():
        yield Finding(f"At {shape}, no output depends on a later token")


LAW = Law(
    "liveness",
    "outputs depend on exactly the tokens that the card says they read",
    run,
    shrinks=True,
)
