"""Causality: output t never depends on x[> t], in values and in gradients.

Published code breaks this law more often than any other: implementations with causal=True that
read the future, masks built with the wrong operator, chunks that leak at their end.
"""

import torch

from cab.attention import Attention
from cab.conformance.law import Finding, Law, Said, largest, scale_of
from cab.conformance.subject import Shape, Subject, name_of

LIMITS = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.016, torch.float16: 2e-3}
"""Tolerance for rounding errors, relative to the largest output."""
ROWS_AT_ONCE = 24_000
"""Tokens per batch of cuts, to bound memory."""


def run(subject: Subject) -> Said:
    """Change the future at every cut, remove it, and take the Jacobian's upper triangle."""
    for dtype in subject.dtypes:
        shapes = subject.shapes() if dtype == subject.widest else subject.typical()
        for shape in shapes:
            if shape.length > 1:
                module = subject.build(shape, dtype=dtype)
                yield from _values(subject, module, shape, torch.arange(shape.length - 1), dtype)
                yield from _gradients(subject, module, shape, dtype, "evaluation")
        if dtype == subject.widest:
            yield from _prefixes(subject)
            yield from _large(subject)
        if dtype == torch.float32:
            yield from _far(subject.trained)
    shape = subject.typical()[0]
    if subject.widest in subject.dtypes:
        module = subject.build(shape).train()
        yield from _gradients(subject, module, shape, subject.widest, "training")


def _far(trained: Subject) -> Said:
    """As it is trained and tested: at that width and in that precision, beyond every chunk."""
    for shape in trained.far:
        module = trained.build(shape, dtype=torch.float32)
        cuts = torch.linspace(shape.length / 5, shape.length - 2, 3).long()
        yield from _values(trained, module, shape, cuts, torch.float32)


def _large(subject: Subject) -> Said:
    """Just above the sizes of the Config that the other shapes do not reach."""
    for shape in subject.large:
        n = shape.length
        near = {size + step for size in (0, *subject.large_sizes) for step in (-2, -1, 0)}
        cuts = sorted(cut for cut in {*near, n // 3, n // 2, n - 2} if 0 <= cut < n - 1)
        module = subject.build(shape)
        yield from _values(subject, module, shape, torch.tensor(cuts), subject.widest)


@torch.no_grad()
def _values(
    subject: Subject, module: Attention, shape: Shape, asked: torch.Tensor, dtype: torch.dtype
) -> Said:
    """Cut t is row t of a batch (rows never interact: the law of padding); the last is whole."""
    length, limit = shape.length, LIMITS[dtype]
    x = subject.draw(1, length, subject.dim, seed="stream", dtype=dtype)
    per_batch = max(1, ROWS_AT_ONCE // length)
    worst, where = 0.0, (0, 0)
    for cuts in asked.to(x.device).split(per_batch):
        first = int(cuts[0])
        past = torch.arange(length, device=x.device) <= cuts[:, None]
        other = 10 * subject.draw(
            len(cuts), length, subject.dim, seed=("future", first), dtype=dtype
        )
        changed = torch.cat((torch.where(past[:, :, None], x, other), x))
        context = subject.context(1, dtype=dtype)
        if context is not None:
            context = context.expand(len(changed), -1, -1)
        out = module(changed, context)
        difference = (out[:-1] - out[-1]).abs().amax(dim=2).masked_fill(~past, 0.0)
        moved = largest(difference) / scale_of(out[-1])
        if moved > worst:
            worst = moved
            row, t = divmod(int(difference.nan_to_num(nan=torch.inf).argmax()), length)
            where = int(cuts[row]), t
    if worst > limit:
        cut, t = where
        yield Finding(
            f"Changing x after position {cut} of {shape} changes output {t} "
            f"({name_of(dtype)}, relative to the largest output)",
            worst,
            limit,
        )


@torch.no_grad()
def _prefixes(subject: Subject) -> Said:
    """The outputs of a prefix do not depend on later tokens, not even on their number."""
    *shorter, shape = subject.shapes()
    module, limit = subject.build(shape), LIMITS[subject.widest]
    x = subject.draw(2, shape.length, subject.dim, seed="stream")
    context = subject.context(2)
    whole = module(x, context)
    for cut in (one.length for one in shorter):
        alone = module(x[:, :cut], context)
        moved = largest(alone - whole[:, :cut]) / scale_of(whole)
        if moved > limit:
            yield Finding(
                f"The first {cut} outputs change when tokens are appended up to {shape} "
                f"({name_of(subject.widest)}, relative to the largest output)",
                moved,
                limit,
            )
            return


def _gradients(
    subject: Subject, module: Attention, shape: Shape, dtype: torch.dtype, mode: str
) -> Said:
    """Row t of a batch asks for the gradient of output t alone, along a random direction."""
    length = shape.length
    rows = min(length, max(1, ROWS_AT_ONCE // length))
    asked = torch.linspace(0, length - 1, rows, device=subject.device).long().unique()
    x = subject.draw(1, length, subject.dim, seed="stream", dtype=dtype)
    x = x.repeat(len(asked), 1, 1).requires_grad_()
    context = subject.context(1, dtype=dtype)
    if context is not None:
        context = context.expand(len(asked), -1, -1)
    out = module(x, context)[torch.arange(len(asked), device=x.device), asked]
    if not out.requires_grad:
        return
    direction = subject.draw(*out.shape, seed="direction", dtype=dtype)
    (gradient,) = torch.autograd.grad((out * direction).sum(), x, materialize_grads=True)
    size = gradient.abs().amax(dim=2)
    future = torch.arange(length, device=x.device) > asked[:, None]
    moved = largest(size.masked_fill(~future, 0.0)) / scale_of(size)
    if moved > LIMITS[dtype]:
        worst = int(size.masked_fill(~future, 0.0).nan_to_num(nan=torch.inf).argmax())
        row, s = divmod(worst, length)
        yield Finding(
            f"Output {int(asked[row])} has a gradient for x at the later position {s} of {shape} "
            f"(in {mode}, {name_of(dtype)}, relative to the largest gradient)",
            moved,
            LIMITS[dtype],
        )


LAW = Law(
    "causality",
    "in CS and CC no output depends on later positions of x",
    run,
    asks=lambda subject: subject.pattern.causal,
    shrinks=True,
)
