"""Memory layouts: strided, expanded and transposed inputs and gradients give the same answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from cab.attention import Attention
from cab.conformance.law import Finding, Said, largest, scale_of
from cab.conformance.subject import Subject, name_of, right_padding

LIMIT = 1e-9
Inputs = tuple[Tensor, Tensor | None, Tensor]
"""x, the context, and the mask."""


def run(subject: Subject) -> Said:
    """Hand over the same numbers in other layouts, forward and backward."""
    for finding in _findings(subject):
        yield finding
        return


def _findings(subject: Subject) -> Said:
    shape = subject.typical(70)[-1]
    module = subject.build(shape)
    row = subject.draw(1, shape.length, subject.dim, seed="stream")
    x = row.expand(3, -1, -1)
    context = subject.context(1)
    source = None if context is None else context.expand(3, -1, -1)
    keys = (x if source is None else source).shape[1]
    mask = right_padding([keys, max(1, keys - 3), max(1, keys // 2)], keys, subject.device)
    above = subject.draw(3, shape.length, subject.dim, seed="from above")
    inputs = x, source, mask
    plain = _laid(torch.Tensor.contiguous, inputs)
    expected = _respond(module, plain, above)
    for said, lay in LAYOUTS:
        got = _respond(module, _laid(lay, inputs), above)
        yield from _compare(got, expected, f"inputs that are {said}")
    for said, lay in LAYOUTS[1:]:
        got = _respond(module, plain, lay(above))
        yield from _compare(got, expected, f"an incoming gradient that is {said}")
    one = torch.ones_like(above[:1, :1, :1]).expand_as(above)
    yield from _compare(
        _respond(module, plain, one),
        _respond(module, plain, one.contiguous()),
        "an incoming gradient that is one expanded number",
    )


def _strided(x: Tensor) -> Tensor:
    """Every second token of a tensor twice as long."""
    wide = x.repeat_interleave(2, dim=1)
    return wide[:, ::2]


def _transposed(x: Tensor) -> Tensor:
    """The last two axes swapped in memory, as in pictures with the channels first."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


def _batch_last(x: Tensor) -> Tensor:
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def _sliced(x: Tensor) -> Tensor:
    """A part of a larger tensor, which begins within its memory."""
    wide = torch.cat((x, x, x), dim=-1)
    return wide[..., x.shape[-1] : 2 * x.shape[-1]]


LAYOUTS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("expanded over the batch", lambda x: x),
    ("strided", _strided),
    ("transposed in memory", _transposed),
    ("laid out with the batch second", _batch_last),
    ("part of a larger tensor", _sliced),
)


def _laid(lay: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    x, context, mask = inputs
    return lay(x), None if context is None else lay(context), lay(mask)


def _respond(module: Attention, inputs: Inputs, above: Tensor) -> list[Tensor]:
    """The output, then the gradients of x, the context and the parameters."""
    x, context, mask = inputs
    leaves = [one.detach().requires_grad_() for one in (x, context) if one is not None]
    stream, source = leaves[0], leaves[1] if len(leaves) > 1 else None
    out = module(stream, source, key_padding_mask=mask)
    if not out.requires_grad:
        return [out]
    leaves += [p for p in module.parameters() if p.requires_grad]
    return [out, *torch.autograd.grad(out, leaves, above, materialize_grads=True)]


def _compare(got: list[Tensor], expected: list[Tensor], said: str) -> Said:
    for place, (one, other) in enumerate(zip(got, expected, strict=True)):
        moved = largest(one - other) / max(scale_of(other), 1e-6)
        if not moved <= LIMIT:
            what = "a gradient" if place else "the output"
            yield Finding(
                f"With {said}, {what} differs ({name_of(other.dtype)}, relative)", moved, LIMIT
            )
            return
