"""Padding before other tokens does what the card says, and its content is hidden."""

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance.law import Finding, Said, largest, scale_of
from cab.conformance.subject import Shape, Subject, name_of

LENGTH = 71
LIMITS = {torch.float64: 1e-9, torch.float32: 2e-4}
FILLS = (float("nan"), 1e4)
WORDS = {
    "left": "on the left",
    "between": "between tokens",
    "scattered": "at every third token",
    "right": "on the right",
}


def run(subject: Subject) -> Said:
    """Compare rows with padding in all places with the same rows without it."""
    if subject.card.needs_grid:
        return
    for dtype in (one for one in subject.dtypes if one in LIMITS):
        for training in (False, True):
            for finding in _removed(subject, dtype, training):
                yield finding
                return
    yield from _later_padding(subject)


def _masks(length: int) -> dict[str, Tensor]:
    t = torch.arange(length)
    return {
        "left": t < length // 3,
        "between": (t >= 30) & (t < 53),
        "scattered": t % 3 == 1,
        "right": t >= length - 20,
    }


def _must_be_removed(subject: Subject, place: str) -> bool:
    """Whether the card says that padding there is as if it were not there."""
    if subject.pattern.cross or subject.card.padding == "removed" or place == "right":
        return True
    return subject.card.padding == "distance" and place == "left"


@torch.no_grad()
def _removed(subject: Subject, dtype: torch.dtype, training: bool) -> Said:
    """One row alone, in a mask of one row, and all rows with masks of their own, in one batch."""
    options = subject.without_dropout
    module = subject.build(Shape(LENGTH), dtype=dtype, context=LENGTH, options=options)
    module.train(training)
    masks = _masks(LENGTH)
    every = torch.stack([*masks.values()]).to(subject.device)
    keys = subject.draw(len(every), LENGTH, subject.dim, seed="keys", dtype=dtype)
    queries = subject.draw(len(every), 9, subject.dim, seed="queries", dtype=dtype)
    together = [
        _call(subject, module, keys.masked_fill(every[:, :, None], fill), queries, every)
        for fill in FILLS
    ]
    for row, (place, mask) in enumerate(masks.items()):
        one = slice(row, row + 1)
        hidden = keys[one].masked_fill(mask[None, :, None].to(keys.device), FILLS[0])
        alone = _call(subject, module, hidden, queries[one], every[one])
        kept = ~mask.to(keys.device)
        outs = [out[one] for out in together]
        if not subject.pattern.cross:
            alone, *outs = (out[:, kept] for out in (alone, *outs))
        said = f"{WORDS[place]} ({name_of(dtype)}{', in training' if training else ''}, relative)"
        for other, what in (
            (outs[1], "The content of padding changes the output: padding"),
            (alone, "A row with its mask of one row differs from the row in a batch: padding"),
        ):
            moved = largest(other - outs[0]) / scale_of(outs[0])
            if not moved <= LIMITS[dtype]:
                yield Finding(f"{what} {said}", moved, LIMITS[dtype])
                return
        if _must_be_removed(subject, place):
            expected = _call(subject, module, keys[one][:, kept], queries[one], None)
            moved = largest(alone - expected) / scale_of(expected)
            if not moved <= LIMITS[dtype]:
                yield Finding(_explain(subject, said), moved, LIMITS[dtype])
                return


def _explain(subject: Subject, said: str) -> str:
    what = f"Outputs with padding {said} differ from those without these tokens"
    if subject.pattern.cross:
        return what
    return (
        f"{what}, but the card (padding={subject.card.padding!r}) says that it is removed: hide "
        f'it from decays, positions and sums, or write padding="distance" or "position" there'
    )


@torch.no_grad()
def _later_padding(subject: Subject) -> Said:
    """In CS, marking later tokens as padding changes no earlier output."""
    if not subject.pattern.causal or subject.pattern.cross:
        return
    module = subject.build(Shape(LENGTH))
    x = subject.draw(1, LENGTH, subject.dim, seed="stream")
    cuts = torch.tensor([1, 16, 33, 64, LENGTH - 1], device=x.device)
    t = torch.arange(LENGTH, device=x.device)
    mask = (t >= cuts[:, None]) & ((t % 3 > 0) | (cuts[:, None] % 2 == 0))
    expected = module(x)
    out = module(x.expand(len(cuts), -1, -1), key_padding_mask=mask)
    moved = largest((out - expected).masked_fill((t >= cuts[:, None])[:, :, None], 0.0))
    moved /= scale_of(expected)
    if not moved <= LIMITS[torch.float64]:
        yield Finding(
            "Marking later tokens as padding changes earlier outputs (relative)",
            moved,
            LIMITS[torch.float64],
        )


def _call(
    subject: Subject, module: Attention, keys: Tensor, queries: Tensor, mask: Tensor | None
) -> Tensor:
    stream, context = (queries, keys) if subject.pattern.cross else (keys, None)
    out: Tensor = module(stream, context, key_padding_mask=mask)
    return out
