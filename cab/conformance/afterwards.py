"""A module after a call: it keeps no graph, it can be copied, and evaluation left it alone."""

import copy
import io
import pickle

import torch

from cab.conformance.law import Finding, Measured, Said, largest
from cab.conformance.subject import Subject, right_padding


def run(subject: Subject) -> Said:
    """Call a module in evaluation and in training, and look at it and its arguments then."""
    yield from _evaluated(subject)
    yield from _trained(subject)
    yield from _rows_alone(subject)


@torch.no_grad()
def _evaluated(subject: Subject) -> Said:
    """Evaluation changes neither the state dict nor the mask."""
    shape = subject.typical(70)[-1]
    module = subject.build(shape)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x, context = subject.draw(3, shape.length, subject.dim, seed="stream"), subject.context(3)
    keys = shape.length if context is None else context.shape[1]
    mask = right_padding([keys, max(1, keys - 3), 1], keys, subject.device)
    kept = mask.clone()
    module(x, context, key_padding_mask=mask)
    if not mask.equal(kept):
        yield Finding("forward modifies key_padding_mask in place")
    after = module.state_dict()
    for name, value in before.items():
        if name not in after or not torch.equal(after[name].nan_to_num(), value.nan_to_num()):
            yield Finding(f"A call in evaluation changes {name} in the state dict")
            return


def _trained(subject: Subject) -> Said:
    """After a training step the module can be copied and pickled; no part holds a graph."""
    shape = subject.typical(70)[-1]
    module = subject.build(shape, options=subject.without_dropout).train()
    x, context = subject.draw(3, shape.length, subject.dim, seed="stream"), subject.context(3)
    module(x, context).square().sum().backward()
    module.eval()
    with torch.no_grad():
        expected = module(x, context)
    for what, copied in (
        ("copy.deepcopy", lambda: copy.deepcopy(module)),
        ("pickle", lambda: pickle.load(io.BytesIO(pickle.dumps(module)))),
    ):
        try:
            other = copied()
        except (RuntimeError, TypeError, AttributeError, pickle.PicklingError) as error:
            yield Finding(
                f"After a training step the module cannot be copied by {what}: it keeps what "
                f"belongs to the call, such as a tensor with its graph ({error})"
            )
            return
        with torch.no_grad():
            again = other(x, context)
        if not again.equal(expected):
            yield Finding(f"A module copied by {what} gives different outputs")
            return


@torch.no_grad()
def _rows_alone(subject: Subject) -> Said:
    """Whether a row gives the same bits alone and in a batch; reported, not required."""
    shape = subject.typical(70)[-1]
    dtype = torch.float32 if torch.float32 in subject.dtypes else subject.dtypes[0]
    module = subject.build(shape, dtype=dtype)
    x = subject.draw(5, shape.length, subject.dim, seed="stream", dtype=dtype)
    context = subject.context(5, dtype=dtype)
    whole = module(x, context)
    alone = module(x[:1], None if context is None else context[:1])
    moved = largest(alone - whole[:1])
    said = "bitwise equal alone and in a batch" if not moved else f"differs by up to {moved:.1e}"
    yield Measured("batch invariance", said)
