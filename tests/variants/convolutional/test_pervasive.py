"""Pervasive attention against its equation, cell by cell."""

import pytest
import torch
import torch.nn.functional as F
from support import DIM, build, draw, relative_difference, right_padding


def by_cells(attention, x, z):
    """The docstring's equations for one row: x (N, D), z (M, D)."""
    rows, columns, reach = len(x), len(z), attention.config.kernel // 2
    weight = torch.cat((attention.stream.weight, attention.source.weight), dim=1)
    cells = [[weight @ torch.cat((a, b)) + attention.source.bias for b in z] for a in x]
    for block in attention.blocks:
        inner = [
            [block.between(block.inner(F.relu(block.before(cell)))).relu() for cell in row]
            for row in cells
        ]
        kernel = block.convolution.weight
        following = []
        for t in range(rows):
            row = []
            for s in range(columns):
                more = torch.zeros(kernel.shape[0], dtype=x.dtype)
                for i in range(reach + 1):
                    for j in range(2 * reach + 1):
                        u, v = t - reach + i, s - reach + j
                        if u >= 0 and 0 <= v < columns:
                            more = more + kernel[:, :, i, j] @ inner[u][v]
                row.append(torch.cat((cells[t][s], more)))
            following.append(row)
        cells = following
    best = torch.stack([torch.stack(row).max(dim=0).values for row in cells])
    return attention.output(best)


@pytest.mark.parametrize("options", [{}, {"layers": 1, "kernel": 5}, {"layers": 3, "kernel": 1}])
@torch.no_grad()
def test_it_is_its_equation_on_the_grid(options):
    attention, x, z = build("pervasive", "cc", **options), draw(3, 5, DIM), draw(3, 7, DIM)
    with torch.no_grad():
        for p in attention.parameters():
            p.copy_(p + 0.1 * draw(*p.shape, seed="moved"))
    lengths = [7, 4, 1]
    out = attention(x, z, key_padding_mask=right_padding(lengths, 7))
    for row, length in enumerate(lengths):
        expected = by_cells(attention, x[row], z[row, :length])
        assert relative_difference(out[row], expected) <= 1e-12


@torch.no_grad()
def test_gaps_in_the_context_are_closed_before_it_is_convolved():
    attention, x, z = build("pervasive", "cc"), draw(1, 5, DIM), draw(1, 7, DIM)
    gaps = torch.tensor([[True, False, False, True, True, False, False]])
    expected = attention(x, z[:, ~gaps[0]])
    assert relative_difference(attention(x, z, key_padding_mask=gaps), expected) <= 1e-12


def test_a_kernel_without_a_middle_is_refused():
    with pytest.raises(Exception, match="an odd number"):
        build("pervasive", "cc", kernel=2)
