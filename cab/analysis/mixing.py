"""The mixing weights of trained attentions: how much of which token each answer holds.

Dimensions: B batch, H heads, N queries, M keys, E head width, D model width.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cab.attention import Attention, MultiHeadAttention
from cab.seeding import generator
from cab.taxonomy import Pattern

TOLERANCE = 1e-3
"""By how much, of the largest answer, weights times values may miss the answer."""

DRAWS = 8
"""Random directions in which a Jacobian is measured."""

Kind = Literal["weights", "Jacobian"]


@dataclass(frozen=True)
class Mixing:
    """One attention's map (B, H, N, M): rows are not negative and sum to 1, or to 0 if empty.

    Rows of padded queries are empty.

    `weights`: those that multiply the values, by absolute value and normalised. `Jacobian`: the
    mechanism has no such map, so the norms of its input-output Jacobian stand in, one head wide
    and of one example.
    """

    layer: str
    variant: str
    kind: Kind
    map: Tensor


@dataclass
class _Call:
    """What an attention was asked."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    answer: Tensor


def attentions(model: nn.Module, pattern: Pattern) -> list[tuple[str, Attention]]:
    """Return the attentions of a pattern, by their names in the model."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, Attention) and module.pattern == pattern
    ]


def mixings(model: nn.Module, pattern: Pattern, run: Callable[[], object]) -> list[Mixing]:
    """Return the map of every attention of a pattern in the first pass of `run`.

    The model is in evaluation mode. Where `attend` is linear in the values of each head alone,
    weights are its outputs for the columns of an identity matrix in place of the values; this is
    tried on the true values, and where they do not agree the Jacobian stands in.
    """
    found = []
    with torch.no_grad(), ExitStack() as stack:
        calls = [
            (name, module, stack.enter_context(_heard(module)))
            for name, module in attentions(model, pattern)
        ]
        run()
    for name, module, heard in calls:
        if not heard:
            continue
        weights = None
        if isinstance(module, MultiHeadAttention):
            weights = _weights(module, heard["attend"])
        kind: Kind = "weights"
        if weights is None:
            kind, weights = "Jacobian", _jacobian(module, heard["forward"])
        mask = heard["forward"].options.get("key_padding_mask")
        if mask is not None and not pattern.cross:  # padded places answer, and nobody asks them
            weights = weights.masked_fill(mask[: len(weights), None, :, None], 0.0)
        found.append(Mixing(name, module.card.name, kind, _rows(weights)))
    return found


@contextmanager
def _heard(module: Attention) -> Iterator[dict[str, _Call]]:
    """Keep the first call of `forward` and of `attend`, while the context lasts."""
    heard: dict[str, _Call] = {}

    def listening(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: Any, **options: Any) -> Tensor:
            answer = function(*arguments, **options)
            heard.setdefault(name, _Call(arguments, options, answer))
            return answer

        return call

    names = ["forward", *(["attend"] if isinstance(module, MultiHeadAttention) else [])]
    for name in names:  # an instance's own attribute hides the method of its class
        setattr(module, name, listening(name, getattr(module, name)))
    try:
        yield heard
    finally:
        for name in names:
            delattr(module, name)


@torch.no_grad()
def _weights(module: MultiHeadAttention, call: _Call) -> Tensor | None:
    """Return A (B, H, N, M) with answer = A values, or None if there is no such A."""
    values = call.options.get("v", call.arguments[2] if len(call.arguments) > 2 else None)
    if values is None or values.dim() != 4:
        return None
    q, k = call.arguments[:2]
    keys, width = values.shape[2], values.shape[3]
    parts = []
    for first in range(0, keys, width):
        columns = torch.eye(keys, dtype=values.dtype, device=values.device)
        columns = columns[:, first : first + width]
        missing = width - columns.shape[1]
        columns = nn.functional.pad(columns, (0, missing)).expand(*values.shape[:2], -1, -1)
        parts.append(module.attend(q, k, columns.contiguous(), **call.options))
    if parts[0].dim() != 4 or parts[0].shape != call.answer.shape:
        return None
    weights = torch.cat(parts, dim=-1)[..., :keys]
    mask = call.options.get("key_padding_mask")
    if mask is not None:
        values = values.masked_fill(mask[:, None, :, None], 0.0)
    missed = (weights @ values - call.answer).abs().max()
    scale = call.answer.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
    return weights if bool(missed <= TOLERANCE * scale) else None


def _jacobian(module: Attention, call: _Call) -> Tensor:
    r"""Return norms (1, 1, N, M) of how the first example's answers move with its tokens.

    .. math:: J_{ts}^2 = \mathbb{E}_u \lVert \partial (u \cdot y_t) / \partial x_s \rVert^2
              = \lVert \partial y_t / \partial x_s \rVert_F^2, \quad u \sim N(0, I)

    estimated from DRAWS directions; x is the stream, or the context in a cross pattern.
    """
    given = [one[:1].detach() for one in call.arguments if one is not None]
    options = {n: one[:1].detach() for n, one in call.options.items() if one is not None}
    cross = module.pattern.cross
    source = (given[1:] or [options.get("context")])[0] if cross else given[0]
    assert source is not None
    leaf = source.clone().requires_grad_()
    with torch.enable_grad():
        if cross and len(given) < 2:
            answer = module(given[0], **{**options, "context": leaf})
        elif cross:
            answer = module(given[0], leaf, **options)
        else:
            answer = module(leaf, *given[1:], **options)
        draw = generator("jacobian", *answer.shape)
        squares = torch.zeros(answer.shape[1], leaf.shape[1], dtype=leaf.dtype)
        for _ in range(DRAWS):
            direction = torch.randn(answer.shape[-1], generator=draw).to(answer)
            along = answer[0] @ direction
            for t in range(len(along)):
                (grad,) = torch.autograd.grad(along[t], leaf, retain_graph=True)
                squares[t] += grad[0].square().sum(dim=-1).cpu() / DRAWS
    return squares.sqrt()[None, None]


def _rows(weights: Tensor) -> Tensor:
    """Absolute values, each row's sum 1; a row of zeros stays one."""
    weights = weights.detach().double().abs()
    total = weights.sum(dim=-1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1.0)
