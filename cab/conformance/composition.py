"""Composition: the variant works under autocast and activation checkpointing; does it compile?"""

import torch
from torch.utils.checkpoint import checkpoint

from cab.attention import Attention
from cab.backbones.weight_decay import undecayed
from cab.conformance import training
from cab.conformance.law import Finding, Law, Measured, Said, largest, relative_error, scale_of
from cab.conformance.subject import Subject

NEAR = 0.1
"""Allowed error of bfloat16 products, as a relative error in norm."""


def run(subject: Subject) -> Said:
    """Call the variant as training at scale would."""
    shape = subject.typical(70)[-1]
    module = subject.build(shape, dtype=torch.float32)
    x = subject.draw(2, shape.length, subject.dim, seed="stream", dtype=torch.float32)
    x = x.requires_grad_()
    context = subject.context(2, dtype=torch.float32)
    expected = module(x, context)

    kind = torch.device(subject.device).type
    with torch.autocast(kind, torch.bfloat16):
        out = module(x, context)
    moved = relative_error(out.float(), expected)
    yield Measured("error under autocast", f"{moved:.1e}")
    if not out.isfinite().all() or (moved > NEAR and subject.card.sees != "chosen"):
        yield Finding(
            "The output under autocast to bfloat16 differs from float32 (relative error)",
            moved,
            NEAR,
        )

    again = checkpoint(module, x, context, use_reentrant=False)
    if not again.equal(expected):
        yield Finding(
            "The output changes under activation checkpointing", largest(again - expected)
        )
    if expected.requires_grad:
        plain, recomputed = (
            torch.autograd.grad(one.square().sum(), x, materialize_grads=True)[0]
            for one in (expected, again)
        )
        moved = largest(plain - recomputed) / scale_of(plain)
        if moved > 1e-5:
            yield Finding("The gradient changes under activation checkpointing", moved, 1e-5)
    yield from training.run(subject)
    yield Measured("torch.compile", _compiles(module, x.detach(), context))
    _step(subject.build(shape, dtype=torch.float32).train(), x.detach(), context)


def _step(module: Attention, x: torch.Tensor, context: torch.Tensor | None) -> None:
    """Call the hooks of a training step; an exception is a finding."""
    undecayed(module)
    module(x, context)
    with torch.no_grad():
        module.after_step()


def _compiles(module: Attention, x: torch.Tensor, context: torch.Tensor | None) -> str:
    """Trace without generating code: whether one graph holds the whole forward pass."""
    try:
        torch._dynamo.reset()
        torch.compile(module, backend="eager", fullgraph=True)(x, context)
    except Exception as error:  # whatever the compiler cannot do, it says in its own classes
        return f"not in one graph ({type(error).__name__})"
    return "one graph"


LAW = Law(
    "composition",
    "equal outputs under autocast and activation checkpointing; the training hooks work",
    run,
)
