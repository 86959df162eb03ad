"""Padding: its content is ignored, and rows of a batch do not affect each other.

Six of ten published variants handled the padding mask wrongly, so their scores depended on the
shape of a batch.
"""

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance import edges, removal
from cab.conformance.law import Finding, Law, Said, largest, scale_of
from cab.conformance.subject import GRIDS, Shape, Subject, name_of, right_padding
from cab.seeding import generator

LIMIT = 1e-9
"""Relative, in float64: a padded batch may sum in another order."""
LENGTHS = ([7, 2, 1, 6, 4], [65, 17, 64, 63], [130, 128, 16, 1], [3, 0, 2])
MANY = [331, 200, 17, 64, 331, 129, 300, 1, 257]
QUERIES = 9


def run(subject: Subject) -> Said:
    """Compare padded rows with the rows alone, change batch-mates, and pad everything."""
    if subject.card.needs_grid:
        yield from _content_of_pictures(subject)
    else:
        above = [shape.length for shape in subject.shapes()]
        for lengths in (*LENGTHS, [above[-1], above[-2], above[len(above) // 2]]):
            yield from _rows_alone(subject, lengths, float("nan"))
        yield from _rows_alone(subject, LENGTHS[0], float("inf"))
        yield from _rows_alone(subject.trained, MANY, float("nan"))
        yield from _anywhere(subject)
    yield from _nothing_hidden(subject)
    yield from _batch_mates(subject)
    yield from _nothing_but_padding(subject)
    yield from removal.run(subject)
    yield from edges.run_empty(subject)
    for shape in subject.large:
        n = shape.length
        yield from _rows_alone(subject, [n, n - 1, n // 2, 1], float("nan"))
    for dtype in subject.dtypes:
        yield from _gradients(subject, dtype)


@torch.no_grad()
def _rows_alone(subject: Subject, lengths: list[int], fill: float) -> Said:
    longest = max(lengths)
    module = subject.build(Shape(max(longest, QUERIES)), context=longest)
    mask = right_padding(lengths, longest, subject.device)
    keys = subject.draw(len(lengths), longest, subject.dim, seed="keys")
    padded = keys.masked_fill(mask[:, :, None], fill)
    queries = subject.draw(len(lengths), QUERIES, subject.dim, seed="queries")
    cross = subject.pattern.cross
    out = _call(module, queries if cross else padded, padded if cross else None, mask)
    if not out.isfinite().all():
        yield Finding(
            f"Padding filled with {fill} reaches the outputs: {int((~out.isfinite()).sum())} are "
            f"not finite (rows of lengths {lengths})"
        )
        return
    worst, where = 0.0, 0
    for row, length in enumerate(lengths):
        if not length:
            continue
        alone = keys[row : row + 1, :length]
        if cross:
            expected = module(queries[row : row + 1], alone)[0]
            got = out[row]
        else:
            expected, got = module(alone)[0], out[row, :length]
        moved = largest(got - expected) / scale_of(expected)
        if moved > worst:
            worst, where = moved, row
    if worst > LIMIT:
        yield Finding(
            f"A row of length {lengths[where]} in a batch of lengths {lengths} differs from the "
            f"same row alone",
            worst,
            LIMIT,
        )


@torch.no_grad()
def _anywhere(subject: Subject) -> Said:
    """Padding may stand on the left and between tokens, and differs from batch to batch.

    Where the order of keys does not matter without a mask, which is measured, it may not beside
    one. The last token stays last: in CS it sees all others.
    """
    length, causal = 41, subject.pattern.causal and not subject.pattern.cross
    module = subject.build(Shape(length), context=length)
    keys = subject.draw(2, length, subject.dim, seed="keys")
    queries = subject.draw(2, QUERIES, subject.dim, seed="queries")
    cross, t = subject.pattern.cross, torch.arange(length, device=subject.device)
    order = torch.cat((torch.randperm(length - 1, generator=generator("order")), t[-1:].cpu()))
    order = order.to(subject.device)

    def moved(mask: Tensor | None) -> float:
        outs = []
        for keys_, mask_ in (
            (keys, mask),
            (keys[:, order], None if mask is None else mask[:, order]),
        ):
            stream, context = (queries, keys_) if cross else (keys_, None)
            outs.append(_call(module, stream, context, mask_))
        if not all(out.isfinite().all() for out in outs):
            return float("inf")
        if not cross:
            kept = t == length - 1 if causal else ~mask[0] if mask is not None else t >= 0
            outs = [outs[0][:, order][:, kept[order]], outs[1][:, kept[order]]]
        return largest(outs[0] - outs[1]) / scale_of(outs[0])

    left, right = (t < QUERIES).expand(2, -1), (t >= length - QUERIES).expand(2, -1)
    free = moved(None)
    for said, mask in (("left", left), ("right", right)):
        beside = moved(mask)
        if beside == float("inf"):
            yield Finding(
                f"Padding on the {said} or between tokens gives outputs that are not finite"
            )
        elif free < LIMIT < beside and not (causal and said == "right"):
            yield Finding(
                f"The order of keys matters only with a padding mask ({QUERIES} of {length} keys "
                f"padded, on the {said} or anywhere): the mask is ignored, kept from an earlier "
                f"call, or only its shape is used",
                beside,
                LIMIT,
            )
            return


def _nothing_hidden(subject: Subject) -> Said:
    """A mask that is False everywhere changes neither values nor gradients."""
    shape = subject.typical(70)[-1]
    module = _module(subject, shape)
    keys = subject.draw(2, shape.length, subject.dim, seed="keys")
    queries = subject.draw(2, QUERIES, subject.dim, seed="queries")
    nothing = torch.zeros(2, shape.length, dtype=torch.bool, device=subject.device)
    answers = [subject.respond(module, keys, queries, mask) for mask in (None, nothing)]
    for place, (plain, masked) in enumerate(zip(*answers, strict=True)):
        moved = largest(masked - plain) / scale_of(plain)
        if moved > LIMIT:
            what = "gradient" if place else "output"
            yield Finding(
                f"A padding mask that is False everywhere changes the {what} ({shape})",
                moved,
                LIMIT,
            )
            return


@torch.no_grad()
def _content_of_pictures(subject: Subject) -> Said:
    """A picture cannot be cut short, so what its padded places hold must not matter."""
    for grid in GRIDS[3:7]:
        shape = Shape(grid[0] * grid[1], grid)
        module = subject.build(shape)
        mask = right_padding([shape.length - 2, 4, shape.length, 0], shape.length, subject.device)
        mask = mask.roll(3, dims=1)
        keys = subject.draw(4, shape.length, subject.dim, seed="keys")
        outs = [
            _call(module, keys.masked_fill(mask[:, :, None], fill), None, mask)
            for fill in (0.0, float("nan"), float("inf"))
        ]
        for out in outs:
            moved = largest((out - outs[0]).masked_fill(mask[:, :, None], 0.0))
            if not out.isfinite().all() or moved > LIMIT:
                yield Finding(
                    f"The content of padded positions of a picture changes the output ({shape})",
                    moved,
                )
                return


@torch.no_grad()
def _batch_mates(subject: Subject) -> Said:
    for shape in subject.typical(70):
        module = subject.build(shape)
        x, other = (
            subject.draw(3, shape.length, subject.dim, seed=seed) for seed in ("stream", "mates")
        )
        other[1] = x[1]
        contexts = [subject.context(3), subject.context(3, seed="mates' contexts")]
        if contexts[0] is not None and contexts[1] is not None:
            contexts[1][1] = contexts[0][1]
        before, after = module(x, contexts[0])[1], module(other, contexts[1])[1]
        moved = largest(after - before) / scale_of(before)
        if moved > LIMIT:
            said = f"A row of {shape} changes when other rows of its batch change"
            yield Finding(said, moved, LIMIT)


@torch.no_grad()
def _nothing_but_padding(subject: Subject) -> Said:
    shape = subject.typical(70)[0]
    keys = shape.length
    module = _module(subject, shape)
    hollow = torch.full_like(subject.draw(2, keys, subject.dim, seed="keys"), float("nan"))
    mask = torch.ones(2, keys, dtype=torch.bool, device=subject.device)
    cross = subject.pattern.cross
    queries = subject.draw(2, QUERIES, subject.dim, seed="queries")
    out = _call(module, queries if cross else hollow, hollow if cross else None, mask)
    if not out.isfinite().all():
        yield Finding(f"A batch that is all padding gives outputs that are not finite ({shape})")


def _gradients(subject: Subject, dtype: torch.dtype) -> Said:
    """Padding that holds NaN must not reach any gradient, even where a whole row is padding."""
    shape = subject.typical(70)[0]
    keys = shape.length
    module = _module(subject, shape, dtype)
    mask = right_padding([keys - 3, 0, keys], keys, subject.device)
    source = subject.draw(3, keys, subject.dim, seed="keys", dtype=dtype)
    source = source.masked_fill(mask[:, :, None], float("nan")).requires_grad_()
    queries = subject.draw(3, QUERIES, subject.dim, seed="queries", dtype=dtype).requires_grad_()
    cross = subject.pattern.cross
    stream, context = (queries, source) if cross else (source, None)
    out = _call(module, stream, context, mask)
    if not out.requires_grad:
        return
    if not out.isfinite().all():
        yield Finding(f"With padding, outputs are not finite ({shape}, {name_of(dtype)})")
        return
    # An upstream gradient of ordinary size meets denominators that padding may have emptied.
    out.backward(subject.draw(*out.shape, seed="from above", dtype=dtype))
    leaves = [("x", stream), ("the context", context), *module.named_parameters()]
    bad = [
        name
        for name, leaf in leaves
        if leaf is not None and leaf.grad is not None and not leaf.grad.isfinite().all()
    ]
    if bad:
        yield Finding(
            f"With padding that holds NaN, gradients of {', '.join(bad)} are not finite "
            f"({shape}, {name_of(dtype)})"
        )
    elif source.grad is not None and source.grad[mask].any():
        yield Finding(f"A gradient reaches padded positions ({shape}, {name_of(dtype)})")


def _module(subject: Subject, shape: Shape, dtype: torch.dtype = torch.float64) -> Attention:
    """In the cross patterns QUERIES tokens read a context as long as the shape."""
    stream = Shape(max(shape.length, QUERIES)) if subject.pattern.cross else shape
    return subject.build(stream, dtype=dtype, context=shape.length)


def _call(module: Attention, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
    out: Tensor = module(x, context, key_padding_mask=mask)
    return out


LAW = Law(
    "padding",
    "a padded row equals the row alone; padding may hold NaN; rows do not affect each other",
    run,
    shrinks=True,
)
