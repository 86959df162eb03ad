"""Mixing one head of one row by a formula written out: no batch, no padding, no chunks."""

import torch
from support import (
    BATCH,
    CONTEXT,
    DIM,
    build,
    context_for,
    draw,
    relative_difference,
    right_padding,
)
from torch import Tensor

from cab.attention import Attention

LENGTHS = (1, 2, 17, 33)


def mixed_by(attention: Attention, mix, x: Tensor, context=None, padding=None) -> Tensor:
    """Return what `mix(q, k, v, head)` gives on unpadded tokens alone; 0 at padded queries."""
    source, out = x if context is None else context, torch.zeros_like(x)
    for row in range(x.shape[0]):
        kept = torch.ones(source.shape[1], dtype=torch.bool)
        if padding is not None:
            kept = ~padding[row]
        asked = kept if context is None else torch.ones(x.shape[1], dtype=torch.bool)
        read, written = source[row, kept], x[row, asked]
        if not len(read) or not len(written):
            continue
        q, k, v = (
            part(tokens).unflatten(-1, (attention.heads, -1)).transpose(0, 1)
            for part, tokens in (
                (attention.query, written),
                (attention.key, read),
                (attention.value, read),
            )
        )
        heads = [mix(q[h], k[h], v[h], h) for h in range(attention.heads)]
        out[row, asked] = torch.stack(heads, dim=1).flatten(1)
    return out


@torch.no_grad()
def difference(
    name: str,
    pattern: str,
    mix,
    length: int,
    *,
    padded=False,
    prepare=lambda attention: None,
    gate=lambda attention, x: 1.0,
    **options,
) -> float:
    """How far a variant is from `mix(attention, q, k, v, head)`, in float64.

    prepare changes the variant's parameters first, gate multiplies what it mixed.
    """
    attention = build(name, pattern, **options)
    prepare(attention)
    x, context = draw(BATCH, length, DIM, seed="stream"), context_for(attention, BATCH)
    padding = None
    if padded:
        keys = length if context is None else CONTEXT
        padding = right_padding([keys, -(-keys // 2), 1, 0], keys).roll(1, dims=0)

    def mix_one(*head):
        return mix(attention, *head)

    mixed = mixed_by(attention, mix_one, x, context, padding)
    expected = attention.output(gate(attention, x) * mixed)
    got = attention(x, context, key_padding_mask=padding)
    if padding is not None and context is None:  # what stands at a padded query is not said
        got, expected = got[~padding], expected[~padding]
    return relative_difference(got, expected)


def assert_is(name: str, pattern: str, mix, limit=1e-11, lengths=LENGTHS, **options) -> None:
    """Assert that a variant is its formula at several lengths, padded or not."""
    for length in lengths:
        assert difference(name, pattern, mix, length, **options) <= limit
        assert difference(name, pattern, mix, length, padded=True, **options) <= limit


def normalised(attention: Attention, weights: Tensor) -> Tensor:
    """Hide the future in CS and divide each row (N, M) by its sum."""
    weights = weights.tril() if attention.pattern == "cs" else weights
    total = weights.sum(dim=1, keepdim=True)
    return weights / torch.where(total == 0, 1.0, total)


def segment_means(x: Tensor, count: int) -> Tensor:
    """Means of the runs of tokens t (N, E) with the same floor(t count / N)."""
    count = min(count, len(x))
    place = torch.arange(len(x)) * count // len(x)
    return torch.stack([x[place == c].mean(dim=0) for c in range(count)])


def softmax_twin(attention: Attention, **options) -> Attention:
    """Softmax attention with the projections of a variant."""
    twin = build("softmax", attention.pattern, **options)
    own = attention.state_dict()
    twin.load_state_dict({name: own[name] for name in twin.state_dict()})
    return twin


@torch.no_grad()
def error_to_softmax(
    name: str, pattern: str, *, scale=1.0, draws=4, length=64, **options
) -> float:
    """The mean difference from softmax attention over draws of parameters and inputs."""
    errors = []
    for seed in range(draws):
        attention = build(name, pattern, seed=seed, **options)
        x = scale * draw(2, length, DIM, seed=("stream", seed))
        context = context_for(attention, 2)
        expected = softmax_twin(attention)(x, context)
        errors.append((attention(x, context) - expected).abs().mean() / expected.abs().mean())
    return torch.stack(errors).mean().item()
