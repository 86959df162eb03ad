"""A module after a call: it keeps no graph, it can be copied, and evaluation left it alone."""

import copy
import pickle
from collections.abc import Callable

import torch

from cab.attention import Attention
from cab.conformance.law import Finding, Measured, Said, largest
from cab.conformance.subject import Subject, right_padding


def run(subject: Subject) -> Said:
    """Call a module in evaluation and in training, and look at it and its arguments then."""
    for training in (False, True):
        yield from _given(subject, training)
    yield from _copied(subject)
    yield from _rows_alone(subject)


def _given(subject: Subject, training: bool) -> Said:
    """A call changes neither its inputs nor the mask, and in evaluation not the state dict."""
    shape = subject.typical(70)[-1]
    module = subject.build(shape).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x, context = subject.draw(3, shape.length, subject.dim, seed="stream"), subject.context(3)
    keys = shape.length if context is None else context.shape[1]
    mask = right_padding([keys, max(1, keys - 3), 1], keys, subject.device)
    kept = mask.clone()
    inputs = [one for one in (x, context) if one is not None]
    inputs[-1][mask] = float("nan")  # the keys
    same = [one.clone() for one in inputs]
    with torch.set_grad_enabled(training):
        module(x, context, key_padding_mask=mask)
    said = " in training" if training else ""
    if not mask.equal(kept):
        yield Finding(f"forward modifies key_padding_mask in place{said}")
    if not all(map(_identical, inputs, same)):
        yield Finding(f"forward with a padding mask modifies its inputs in place{said}")
    after = module.state_dict()
    for name, value in {} if training else before.items():
        if name not in after or not _identical(after[name], value):
            yield Finding(f"A call in evaluation changes {name} in the state dict")
            return


def _identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.isnan().equal(other.isnan()) and one.nan_to_num().equal(other.nan_to_num())


def _copied(subject: Subject) -> Said:
    """After a call of any kind the module can be copied and pickled: it holds no graph."""
    for training in (True, False):
        for masked in (False, True):
            said = "a training step" if training else "a call in evaluation"
            said += " with a padding mask" if masked else ""
            for finding in _copied_after(subject, said, training, _forward(masked)):
                yield finding
                return
    if subject.build(subject.typical(70)[-1]).decodes:
        yield from _copied_after(subject, "decoding with gradients", False, _decoding)


Call = Callable[[Subject, Attention, torch.Tensor, torch.Tensor | None], torch.Tensor]


def _forward(masked: bool) -> Call:
    def call(
        subject: Subject, module: Attention, x: torch.Tensor, context: torch.Tensor | None
    ) -> torch.Tensor:
        keys = x.shape[1] if context is None else context.shape[1]
        mask = right_padding([keys, max(1, keys - 3), 1], keys, subject.device)
        return module(x, context, key_padding_mask=mask if masked else None)

    return call


def _decoding(
    subject: Subject, module: Attention, x: torch.Tensor, context: torch.Tensor | None
) -> torch.Tensor:
    state = module.initial_state(len(x), context)
    first, state = module.prefill(x[:, :3], state)
    last, state = module.step(x[:, 3], state)
    return first.sum() + last.sum()


def _copied_after(subject: Subject, said: str, training: bool, call: Call) -> Said:
    shape = subject.typical(70)[-1]
    module = subject.build(shape, options=subject.without_dropout).train(training)
    x, context = subject.draw(3, shape.length, subject.dim, seed="stream"), subject.context(3)
    out = call(subject, module, x.requires_grad_(), context)
    if training and out.requires_grad:
        out.square().sum().backward()
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
