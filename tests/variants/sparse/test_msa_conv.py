"""MSA-Conv is softmax over the places of a kernel, written out with zeros round the picture."""

import pytest
import torch
from sparse_oracles import assert_card_says, build_sparse, places, random_padding
from support import DIM, HEAD_WIDTH, HEADS, draw, relative_difference

from cab.errors import CabError

BATCH = 3


def by_loops(attention, x, kernel, dilation):
    """One row (N, D), in which padded tokens are 0."""
    rows, columns = attention.grid
    parts = (attention.query, attention.key, attention.value)
    q, k, v = (part(x).reshape(rows, columns, HEADS, HEAD_WIDTH) for part in parts)
    half, zero = kernel // 2, torch.zeros(HEAD_WIDTH, dtype=x.dtype)
    out = torch.zeros_like(q)
    for row in range(rows):
        for column in range(columns):
            for head in range(HEADS):
                scores, values = [], []
                for i in range(-half, half + 1):
                    for j in range(-half, half + 1):
                        r, c = row + dilation * i, column + dilation * j
                        inside = 0 <= r < rows and 0 <= c < columns
                        key = k[r, c, head] if inside else zero
                        scores.append(q[row, column, head] @ key / HEAD_WIDTH**0.5)
                        values.append(v[r, c, head] if inside else zero)
                weights = torch.stack(scores).exp()
                out[row, column, head] = weights @ torch.stack(values) / weights.sum()
    return attention.output(out.reshape(rows * columns, DIM))


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 1), (4, 6)])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
@torch.no_grad()
def test_it_is_a_softmax_over_the_kernels_places(grid, kernel, dilation):
    attention = build_sparse("msa-conv", grid=grid, kernel=kernel, dilation=dilation)
    length = grid[0] * grid[1]
    x, padding = draw(BATCH, length, DIM), random_padding(length)
    hollow = x.masked_fill(padding[:, :, None], float("nan"))
    zeroed = x.masked_fill(padding[:, :, None], 0.0)
    plain, masked = attention(x), attention(hollow, key_padding_mask=padding)
    for row in range(BATCH):
        expected = by_loops(attention, x[row], kernel, dilation)
        assert relative_difference(plain[row], expected) <= 1e-12
        expected = by_loops(attention, zeroed[row], kernel, dilation)
        assert relative_difference(masked[row], expected) <= 1e-12


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (3, 2)])
def test_the_card_says_which_places_the_kernel_covers(kernel, dilation):
    attention = build_sparse("msa-conv", grid=(5, 7), kernel=kernel, dilation=dilation)
    (row_t, column_t), (row_s, column_s) = places((5, 7))
    steps = [abs(a - b) for a, b in ((row_t, row_s), (column_t, column_s))]
    covered = [(x % dilation == 0) & (x // dilation <= kernel // 2) for x in steps]
    assert_card_says(attention, covered[0] & covered[1])


@pytest.mark.parametrize("kernel", [0, 2, 4])
def test_a_kernel_without_a_middle_is_refused(kernel):
    with pytest.raises(CabError, match="kernel must be odd"):
        build_sparse("msa-conv", grid=(4, 6), kernel=kernel)
