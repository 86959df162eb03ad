"""How much of the sequence a variant reads at a given length: the share of query-key pairs.

Dimensions: N queries, M keys, D model width.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Attention, Geometry, build_attention
from cab.seeding import derive_seed, generator
from cab.taxonomy import Pattern

DRAWS = 3
"""Random modules and inputs over which the share is averaged."""
ROUNDING = 1e-12
"""Gradients in float64 below this part of the query's largest one count as 0."""
BATCH = 32
"""Queries that are differentiated at a time."""


def share_read(
    attention: type[Attention],
    length: int,
    options: Mapping[str, Any] = MappingProxyType({}),
    *,
    draws: int = DRAWS,
    **geometry: Unpack[Geometry],
) -> float:
    """Return the share of pairs (query t, key s) for which output t depends on token s.

    The pairs are those that the pattern allows: s <= t in causal self-attention, all others
    otherwise. In the cross patterns the tokens s are those of a context of the same length.
    Whether an output depends on a token is read off the gradient of the output with respect to
    the token, in float64. A choice without a gradient, such as the k highest scores, so counts
    the tokens that were chosen and not those that were compared, and the result is the mean over
    `draws` random modules and inputs. Over several heads a pair counts if any head reads it. A
    mechanism that reads tokens through a summary, such as a mean, a state or landmarks, depends
    on every token of the summary.

    Args:
        attention: the variant's class.
        length: the number of tokens N, of the stream and of the context; at most `max_length`.
        options: settings for its Config, by name.
        draws: random modules and inputs to average over.
        geometry: as for the variant's constructor; `grid`, if given, holds `length` tokens.
    """
    total = 0.0
    for draw in range(draws):
        seed = derive_seed("reading", draw)
        module = _build(attention, options, geometry, seed)
        shape = (1, length, module.dim)
        x, context = (
            torch.randn(shape, generator=generator(seed, of), dtype=torch.float64)
            for of in ("stream", "context")
        )
        read = pairs_read(module, x, context if module.pattern.cross else None)
        allowed = _allowed(module.pattern, *read.shape)
        total += (read & allowed).sum().item() / allowed.sum().item()
    return total / draws


def pairs_read(
    module: Attention, x: Float[Tensor, "1 N D"], context: Float[Tensor, "1 M D"] | None = None
) -> Bool[Tensor, "N M"]:
    """Return which outputs t depend on which tokens s, of the context in the cross patterns.

    Row t is the gradient of a random combination of output t's channels, which is not 0 if the
    Jacobian of output t with respect to token s is not. Each of the copies of the input in a
    batch serves for one row.
    """
    source = x if context is None else context
    direction = torch.randn(x.shape[2], generator=generator("direction", *x.shape)).to(x)
    rows = []
    for first in range(0, x.shape[1], BATCH):
        count = min(BATCH, x.shape[1] - first)
        leaf = source.repeat(count, 1, 1).requires_grad_()
        copies = x.expand(count, -1, -1)
        with torch.enable_grad():
            out = module(leaf) if context is None else module(copies, leaf)
            asked = torch.arange(count, device=x.device)
            total = (out[asked, first + asked] @ direction).sum()
            if not total.requires_grad:  # such as no attention, which reads no context
                rows.append(torch.zeros(count, source.shape[1], dtype=x.dtype, device=x.device))
                continue
            (gradient,) = torch.autograd.grad(total, leaf, materialize_grads=True)
        rows.append(gradient.abs().amax(dim=2))
    size = torch.cat(rows)
    return (size > ROUNDING * size.amax(dim=1, keepdim=True)).cpu()


def _build(
    attention: type[Attention], options: Mapping[str, Any], geometry: Geometry, seed: int
) -> Attention:
    """Construct a module whose learned parameters are moved from their start.

    A weight that starts at 0 would hide what is read. The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build_attention(attention, dict(options), **geometry).double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def _allowed(pattern: Pattern, queries: int, keys: int) -> Bool[Tensor, "N M"]:
    allowed = torch.ones(queries, keys, dtype=torch.bool)
    return allowed.tril() if pattern.causal and not pattern.cross else allowed
