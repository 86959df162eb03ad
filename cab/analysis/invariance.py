"""Batch invariance and split prefill: what changes an output besides its own inputs.

Dimensions: B batch, N query length, D model width.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from cab.attention import Attention
from cab.conformance.check import subjects
from cab.conformance.law import largest, scale_of
from cab.conformance.subject import Shape, Subject
from cab.errors import CabError
from cab.records.invariance import Invariance, MeasuredInvariance
from cab.records.sources import source_hash
from cab.records.text import one_line
from cab.registry import Registry
from cab.running.environment import describe
from cab.taxonomy import VariantCard

BATCHES = (2, 5, 16)
"""Batches in which the first row is compared with the same row alone."""
LONGEST = 70
"""Tokens: the longest of the laws' shapes up to this length is measured."""


def measure(variants: Registry[VariantCard], name: str) -> MeasuredInvariance:
    """Measure a registered variant in every pattern of its card, on the CPU with one thread.

    Raises:
        UnknownName: there is no variant of this name.
        CabError: the variant raised an exception.
    """
    machine = describe("cpu", 1)
    card = variants.card(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return MeasuredInvariance(
            source=source_hash(variants.entry(name).path),
            torch=machine.torch,
            processor=machine.cpu,
            patterns={
                one.pattern: invariance(one)
                for one in subjects(variants, name, card.patterns, options={})
            },
        )
    except CabError:
        raise
    except Exception as error:  # the variant may raise anything
        said = one_line(f"{type(error).__name__}: {error}", 200)
        raise CabError(
            f"{name} cannot be measured, because it raised {said}. Run `cab check {name}`, which "
            f"says where."
        ) from error
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def invariance(subject: Subject) -> Invariance:
    r"""Measure a variant in one pattern, in float32, at a width at which it is trained.

    .. math:: \max |y' - y| / \max |y|

    y is the row alone, or the whole sequence at once. The laws ask for less than 1e-9 of the
    prefill in float64, and report the row alone at their own sizes.
    """
    own = subject.trained
    shape = own.typical(LONGEST)[-1]
    module = own.build(shape, dtype=torch.float32)
    size = max(BATCHES)
    x = own.draw(size, shape.length, own.dim, seed="stream", dtype=torch.float32)
    context = own.context(size, dtype=torch.float32)
    alone = module(*_rows(x, context, 1))
    batch = max(_moved(module(*_rows(x, context, n))[:1], alone) for n in BATCHES)
    if not module.decodes:
        return Invariance(batch=batch)
    steps = _stepped(module, *_rows(x, context, 1))
    decoding = max(_moved(_stepped(module, *_rows(x, context, n))[:1], steps) for n in BATCHES)
    pair = _rows(x, context, 2)
    whole = module(*pair)
    prefill = max(_moved(_in_parts(module, *pair, parts), whole) for parts in _splits(shape))
    return Invariance(batch=batch, decoding=decoding, prefill=prefill)


def _rows(x: Tensor, context: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
    return x[:count], None if context is None else context[:count]


def _moved(got: Tensor, wanted: Tensor) -> float:
    return float(f"{largest(got - wanted) / scale_of(wanted):.3g}")


def _splits(shape: Shape) -> Iterator[tuple[int, ...]]:
    """Lengths of the parts of a prompt; what is left of the sequence is read step by step."""
    n = shape.length
    yield from ((n,), (1, n - 1), (n // 2, n - n // 2), (n // 3, n // 3), (n - 1,))


def _stepped(module: Attention, x: Tensor, context: Tensor | None) -> Tensor:
    return _in_parts(module, x, context, ())


def _in_parts(
    module: Attention, x: Float[Tensor, "B N D"], context: Tensor | None, parts: tuple[int, ...]
) -> Float[Tensor, "B N D"]:
    """Read a sequence by prefill in parts, and the rest of it step by step."""
    state, outputs, at = module.initial_state(len(x), context), [], 0
    for length in parts:
        y, state = module.prefill(x[:, at : at + length], state)
        outputs.append(y)
        at += length
    for token in x[:, at:].unbind(dim=1):
        y, state = module.step(token, state)
        outputs.append(y[:, None])
    return torch.cat(outputs, dim=1)
