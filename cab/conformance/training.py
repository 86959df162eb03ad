"""Training as it is done at scale: checkpoints, autocast, and changes between the modes."""

import gc
import weakref
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cab.attention import Attention
from cab.conformance.law import Finding, Said, largest, scale_of
from cab.conformance.subject import Subject, name_of

LIMIT = 1e-5


def run(subject: Subject) -> Said:
    """Take training steps with activation checkpoints and under autocast."""
    plain = _steps(subject, "plain")
    for how in ("checkpoint", "reentrant checkpoint"):
        yield from _compare(_steps(subject, how), plain, how)
    under = _steps(subject, "autocast")
    for name, value in under.items():
        if value.dtype != plain[name].dtype or not value.isfinite().all():
            yield Finding(
                f"Training steps under autocast leave {name} not finite or of other type"
            )
            return


def _steps(subject: Subject, how: str) -> Mapping[str, Tensor]:
    """Two steps; return the gradients of the last, and the buffers after it."""
    shape, dtype = subject.typical(70)[-1], torch.float32
    module = subject.build(shape, dtype=dtype, options=subject.without_dropout).train()
    found: dict[str, Tensor] = {}
    for turn in range(2):
        module.zero_grad(set_to_none=True)
        x = subject.draw(2, shape.length, subject.dim, seed=("stream", turn), dtype=dtype)
        x.requires_grad_()
        context = subject.context(2, dtype=dtype, seed=("context", turn))
        torch.manual_seed(turn)
        _backward(subject, module, x, context, how)
        with torch.no_grad():
            module.after_step()
        gradients = {f"the gradient of {n}": p.grad for n, p in module.named_parameters()}
        gradients["the gradient of x"] = x.grad
        found = {name: one for name, one in gradients.items() if one is not None}
    found.update({f"the buffer {n}": b.clone() for n, b in module.named_buffers()})
    return found


def _backward(
    subject: Subject, module: Attention, x: Tensor, context: Tensor | None, how: str
) -> None:
    kind = torch.device(subject.device).type
    with torch.autocast(kind, torch.bfloat16, enabled=how == "autocast"):
        if "checkpoint" in how:
            out = checkpoint(module, x, context, use_reentrant=how.startswith("reentrant"))
        else:
            out = module(x, context)
        loss = out.float().square().sum()
    if loss.requires_grad:
        loss.backward()


def _compare(got: Mapping[str, Tensor], plain: Mapping[str, Tensor], how: str) -> Said:
    for name, one in got.items():
        if name not in plain:
            continue
        moved = largest(one.double() - plain[name].double()) / max(
            scale_of(plain[name].double()), 1e-6
        )
        if not moved <= LIMIT:
            yield Finding(
                f"Two training steps with an activation {how} change {name}: forward runs twice "
                f"there, so update buffers in after_step (float32, relative)",
                moved,
                LIMIT,
            )
            return


def run_modes(subject: Subject) -> Said:
    """Training, evaluation and training again: equal answers, and no graph is kept."""
    shape = subject.typical(70)[-1]
    module = subject.build(shape, options=subject.without_dropout)
    x, context = subject.draw(2, shape.length, subject.dim, seed="stream"), subject.context(2)
    saved = {name: value.clone() for name, value in module.state_dict().items()}

    def answer(training: bool) -> Tensor:
        module.train(training)
        torch.manual_seed(3)
        out: Tensor = module(x.clone().requires_grad_(training), context)
        if training and out.requires_grad:
            out.square().sum().backward()
        module.zero_grad(set_to_none=True)
        module.load_state_dict(saved)
        return out.detach()

    expected = answer(False)
    for turn, training in enumerate((True, False) * 3):
        moved = largest(answer(training) - expected) / scale_of(expected)
        if not moved <= 1e-9:
            said = "training" if training else "evaluation"
            yield Finding(
                f"After {turn + 1} changes between training and evaluation, the output in {said} "
                f"differs ({name_of(subject.widest)}, relative)",
                moved,
                1e-9,
            )
            return
    yield from _graph_kept(module, x, context)


def _graph_kept(module: Attention, x: Tensor, context: Tensor | None) -> Said:
    """What a training call computed is freed once nobody holds its output."""
    leaf = x.clone().requires_grad_()
    module.train()
    stream = leaf * 1.0
    freed = weakref.ref(stream)
    out = module(stream, context)
    del stream, out
    module.eval()
    with torch.no_grad():
        module(x, context)
    gc.collect()
    if freed() is not None:
        yield Finding(
            "After a call in training, and another in evaluation, what the first one computed is "
            "still in memory: the module keeps tensors of the call, with their graph"
        )
