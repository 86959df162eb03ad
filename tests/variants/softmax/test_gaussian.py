"""Gaussian adaptive attention against products of normal densities."""

import pytest
import torch
from support import DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding


def moved(**options):
    attention = build("gaussian", "ns", **options).requires_grad_(False)
    attention.offsets.copy_(0.5 * draw(*attention.offsets.shape))
    return attention


def by_densities(attention, x):
    """The paper's form for one row: a product of densities, divided by its sum over tokens."""
    v = attention.value(x)
    out = torch.zeros_like(v)
    for head in range(HEADS):
        for feature in range(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH):
            column = v[:, feature]
            deviation = (column.var(correction=0) + 1e-8).sqrt()
            product = torch.ones_like(column)
            widths = attention.log_widths[head].exp()
            for offset, width in zip(attention.offsets[head], widths, strict=True):
                normal = torch.distributions.Normal(column.mean() + offset, width * deviation)
                product = product * normal.log_prob(column).exp()
            out[:, feature] = len(column) * product / product.sum() * column
    return attention.output(out)


@pytest.mark.parametrize("gaussians", [1, 4])
@torch.no_grad()
def test_it_is_a_product_of_densities(gaussians):
    attention, x, lengths = moved(gaussians=gaussians), draw(3, 11, DIM), [11, 6, 2]
    out = attention(x, key_padding_mask=right_padding(lengths, 11))
    for row, length in enumerate(lengths):
        expected = by_densities(attention, x[row, :length])
        assert relative_difference(out[row, :length], expected) <= 1e-10


@torch.no_grad()
def test_wide_gaussians_and_single_tokens_leave_the_values():
    attention, x = moved(), draw(2, 9, DIM)
    assert (
        relative_difference(attention(x[:, :1]), attention.output(attention.value(x[:, :1])))
        <= 1e-12
    )
    attention.log_widths.fill_(12.0)
    assert relative_difference(attention(x), attention.output(attention.value(x))) <= 1e-8
