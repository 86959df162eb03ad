"""A module after a call: it keeps no graph, it can be copied, and evaluation left it alone."""

import copy
import pickle

import torch

from cab.attention import Attention
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
    inputs = [one for one in (x, context) if one is not None]
    inputs[-1][mask] = float("nan")  # the keys
    same = [one.clone() for one in inputs]
    module(x, context, key_padding_mask=mask)
    if not mask.equal(kept):
        yield Finding("forward modifies key_padding_mask in place")
    if not all(map(_identical, inputs, same)):
        yield Finding("forward with a padding mask modifies its inputs in place")
    after = module.state_dict()
    for name, value in before.items():
        if name not in after or not _identical(after[name], value):
            yield Finding(f"A call in evaluation changes {name} in the state dict")
            return


def _identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.isnan().equal(other.isnan()) and one.nan_to_num().equal(other.nan_to_num())


def _trained(subject: Subject) -> Said:
    """After a call in either mode the module can be copied and pickled: it holds no graph."""
    for training in (True, False):
        for finding in _copied(subject, training):
            yield finding
            return


def _copied(subject: Subject, training: bool) -> Said:
    shape = subject.typical(70)[-1]
    module = subject.build(shape, options=subject.without_dropout).train(training)
    x, context = subject.draw(3, shape.length, subject.dim, seed="stream"), subject.context(3)
    out = module(x.requires_grad_(), context)
    if training and out.requires_grad:
        out.square().sum().backward()
    said = "a training step" if training else "a call in evaluation"
    if problem := _copying(module):
        if _copying(subject.build(shape, options=subject.without_dropout)):
            yield Finding(
                f"The module cannot be copied and pickled, not even before a call ({problem}): it "
                f"must keep no lambda, no local function and nothing else that pickle refuses"
            )
            return
        yield Finding(
            f"After {said} the module cannot be copied and pickled ({problem}): it keeps what "
            f"belongs to the call, such as a tensor with its graph"
        )
        return
    other = copy.deepcopy(module)
    with torch.no_grad():
        if not other.eval()(x, context).equal(module.eval()(x, context)):
            yield Finding("A module copied by copy.deepcopy gives different outputs")


def _copying(module: Attention) -> str:
    """Return what copying and pickling raise, or nothing."""
    try:
        copy.deepcopy(module)
        pickle.dumps(module)
    except Exception as error:  # PyTorch, pickle and the variant raise several kinds
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""


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
