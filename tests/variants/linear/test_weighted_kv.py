"""Weighted key-value attention against its sums over all pairs of tokens, channel by channel."""

import pytest
import torch
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEADS, VARIANTS, build, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern


def scanned(k, v, w, u, order, kept, train_length):
    """One scan of one row (N, D): tokens follow one another in `order`."""
    place = {t: number for number, t in enumerate(order)}
    out = torch.zeros_like(v)
    for t in order:
        above, below = torch.zeros(v.shape[1]).double(), torch.zeros(v.shape[1]).double()
        for s in order:
            if kept[s]:
                far = abs(place[t] - place[s]) - 1
                weight = torch.exp(k[s] + (u if s == t else -far * w) / train_length)
                above, below = above + weight * v[s], below + weight
        out[t] = above / below
    return out


def written_out(attention, x, kept, shifted):
    rows, columns = attention.grid or (1, len(x))
    k, v = attention.key(shifted), attention.value(shifted)
    orders = [list(range(len(x)))]
    if attention.grid is not None:
        orders.append([r * columns + c for c in range(columns) for r in range(rows)])
    for w, u, order in zip(attention.decay, attention.bonus, orders, strict=True):
        v = scanned(k, v, w, u, order, kept, attention.train_length)
    return attention.output(torch.sigmoid(attention.gate(shifted)) * v)


def shift(attention, x):
    _, columns = attention.grid or (1, len(x))
    taps, out = attention.shift.weight[:, 0].reshape(DIM, -1, 3), x.clone()
    up = taps.shape[1] // 2
    for t in range(len(x)):
        for s in range(len(x)):
            down, right = s // columns - t // columns, s % columns - t % columns
            if abs(down) <= up and abs(right) <= 1:
                out[t] += taps[:, down + up, right + 1] * x[s]
    return out


@torch.no_grad()
@pytest.mark.parametrize("grid", [None, (1, 1), (5, 4), (3, 7)])
@pytest.mark.parametrize("length", [1, 2, 13])
def test_it_is_its_sums(grid, length):
    length = length if grid is None else grid[0] * grid[1]
    sizes = {"dim": DIM, "heads": HEADS, "max_length": length, "grid": grid}
    module = build_attention(VARIANTS.load("weighted-kv"), {}, pattern=Pattern.NS, **sizes)
    attention, x = module.double().eval(), draw(BATCH, length, DIM)
    attention.decay.copy_(draw(*attention.decay.shape, seed="w") * 3)
    attention.bonus.copy_(draw(*attention.bonus.shape, seed="u") * 3)
    padding = draw(BATCH, length, seed="holes") > 0.5
    padding[:, 0] = False
    for mask in (None, padding):
        got = attention(x, key_padding_mask=mask)
        kept = torch.ones_like(padding) if mask is None else ~mask
        for row in range(BATCH):
            here = x[row].masked_fill(~kept[row, :, None], 0.0)
            expected = written_out(attention, here, kept[row], shift(attention, here))
            assert relative_difference(got[row, kept[row]], expected[kept[row]]) <= 1e-11


def test_time_constants_start_over_the_training_length():
    attention = build("weighted-kv", "ns", max_length=256)
    tau = attention.train_length / attention.decay[0]
    torch.testing.assert_close(tau[[0, -1]], torch.tensor([4.0, 512.0]).double())


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("weighted-kv", "ns", dtype)
