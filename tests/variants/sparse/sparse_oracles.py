"""Masked softmax in NumPy, written out, and the masks that cards declare."""

import dataclasses
from typing import Any

import numpy as np
import torch
from support import DIM, HEADS, VARIANTS, draw, relative_difference
from torch import Tensor

from cab.attention import Attention, build_attention
from cab.formula import evaluate
from cab.taxonomy import Pattern

BATCH = 3


def build_sparse(
    name: str,
    pattern: str = "ns",
    *,
    grid: tuple[int, int] | None = None,
    heads: int = HEADS,
    max_length: int = 40,
    **options: Any,
) -> Attention:
    """Construct a variant in float64, on a grid where one is given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build_attention(
            VARIANTS.load(name),
            options,
            dim=DIM,
            heads=heads,
            pattern=Pattern(pattern),
            max_length=max_length if grid is None else grid[0] * grid[1],
            grid=grid,
        )
    return module.double().eval()


def pairs(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return queries t as a column and keys s as a row."""
    return np.arange(length)[:, None], np.arange(length)


def places(grid: tuple[int, int]) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return (rows, columns) of the queries, as columns, and those of the keys, as rows."""
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return (row[:, None], column[:, None]), (row, column)


def nearest(length: int, kernel: int, dilation: int = 1) -> np.ndarray:
    """Each token's `kernel` nearest of its own remainder, by sorting distances (N, N)."""
    visible = np.zeros((length, length), bool)
    for t in range(length):
        same = np.arange(t % dilation, length, dilation)
        # Of two at the same distance an even kernel takes the earlier one.
        distance = abs(same - t) + 0.1 * (same > t)
        visible[t, same[np.argsort(distance)][:kernel]] = True
    return visible


def masked_softmax(
    attention: Attention, x: Tensor, *stages: np.ndarray, padding: Tensor | None = None
) -> Tensor:
    """Mix values by softmax over visible pairs (..., N, N), once per stage, by equal scores."""
    present = np.ones(x.shape[:2], bool) if padding is None else ~padding.numpy()
    x = np.where(present[:, :, None], x.numpy(), 0.0)
    heads = {
        name: (x @ getattr(attention, name).weight.detach().numpy().T)
        .reshape(*x.shape[:2], attention.heads, -1)
        .transpose(0, 2, 1, 3)
        for name in ("query", "key", "value")
    }
    scores = heads["query"] @ heads["key"].swapaxes(2, 3) / np.sqrt(heads["key"].shape[3])
    mixed = heads["value"]
    for stage in stages:
        visible = np.broadcast_to(stage, scores.shape) & present[:, None, None, :]
        weights = np.where(visible, np.exp(scores - scores.max()), 0.0)
        total = weights.sum(axis=3, keepdims=True)
        mixed = weights / np.where(total == 0, 1, total) @ mixed
    merged = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    return torch.from_numpy(merged @ attention.output.weight.detach().numpy().T)


def random_padding(length: int) -> Tensor:
    """Holes anywhere in the first row, on the right in the second, and a third row of padding."""
    padding = draw(BATCH, length, seed="holes") > 0.5
    padding[1] = torch.arange(length) >= (length + 1) // 2
    padding[2] = True
    return padding


def assert_equals_masked_softmax(attention: Attention, *stages: np.ndarray) -> None:
    """Compare a variant with masks written by hand, without and beside padding, NaN in it."""
    length = stages[0].shape[-1]
    if attention.pattern.causal:
        stages = tuple(stage & np.tri(length, dtype=bool) for stage in stages)
    x, padding = draw(BATCH, length, attention.dim), random_padding(length)
    expected = masked_softmax(attention, x, *stages)
    assert relative_difference(attention(x), expected) <= 1e-12
    expected = masked_softmax(attention, x, *stages, padding=padding)
    hollow = x.masked_fill(padding[:, :, None], float("nan"))
    # At padded places too: a query that sees nothing gives 0.
    out = attention(hollow, key_padding_mask=padding)
    assert relative_difference(out, expected) <= 1e-12


def assert_card_says(attention: Attention, *stages: np.ndarray) -> None:
    """Compare the card's `sees` with masks written by hand; stages reach through one another."""
    sees, reached = attention.card.sees, stages[-1]
    for stage in reversed(stages[:-1]):
        reached = reached @ stage
    length, (rows, columns) = reached.shape[-1], attention.grid or (1, reached.shape[-1])
    names = {**dataclasses.asdict(attention.config), "N": length, "H": attention.heads}
    names |= {"rows": rows, "columns": columns, "causal": attention.pattern.causal}
    for t in range(length):
        for s in range(t + 1 if attention.pattern.causal else length):
            place = {"t": t, "s": s, "row_t": t // columns, "column_t": t % columns}
            place |= {"row_s": s // columns, "column_s": s % columns}
            declared = sees == "all" or bool(evaluate(sees, names | place))
            assert declared == reached[..., t, s].any()


def assert_equals_softmax(attention: Attention, length: int) -> None:
    """Compare with the reference, given the same projections."""
    softmax = build_sparse("softmax", attention.pattern, heads=attention.heads)
    softmax.load_state_dict(
        {name: p for name, p in attention.state_dict().items() if name in softmax.state_dict()}
    )
    x, padding = draw(BATCH, length, attention.dim), random_padding(length)
    assert relative_difference(attention(x), softmax(x)) <= 1e-12
    out, expected = (one(x, key_padding_mask=padding) for one in (attention, softmax))
    assert out.isfinite().all()
    # Outputs at padded places are nobody's: mechanisms of two stages give 0 there.
    out, expected = (one.masked_fill(padding[:, :, None], 0.0) for one in (out, expected))
    assert relative_difference(out, expected) <= 1e-12
