"""Bidirectional attention flow follows the paper's equations."""

import torch
from support import BATCH, CONTEXT, DIM, build, draw, relative_difference, right_padding


def by_loops(attention, x, z):
    """The paper's equations for one row: x (N, D), z (M, D)."""
    w = torch.cat((attention.of_stream, attention.of_context, attention.of_product))
    scores = torch.stack([torch.stack([w @ torch.cat((h, u, h * u)) for u in z]) for h in x])
    asked = torch.stack([row.softmax(dim=0) @ z for row in scores])
    picked = scores.max(dim=1).values.softmax(dim=0) @ x
    merged = [torch.cat((h, u, h * u, h * picked)) for h, u in zip(x, asked, strict=True)]
    return torch.stack(merged) @ attention.output.weight.T


@torch.no_grad()
def test_it_is_the_paper_s_equations():
    attention, x, z = build("bidaf", "nc"), draw(BATCH, 9, DIM), draw(BATCH, CONTEXT, DIM)
    lengths = [CONTEXT, 13, 2, 1]
    out = attention(x, z, key_padding_mask=right_padding(lengths, CONTEXT))
    for row, length in enumerate(lengths):
        expected = by_loops(attention, x[row], z[row, :length])
        assert relative_difference(out[row], expected) <= 1e-12


@torch.no_grad()
def test_a_context_of_padding_alone_leaves_the_token_s_own_part():
    attention, x, z = build("bidaf", "nc"), draw(2, 9, DIM), draw(2, CONTEXT, DIM)
    out = attention(x, z, key_padding_mask=torch.ones(2, CONTEXT, dtype=torch.bool))
    assert relative_difference(out, x @ attention.output.weight[:, :DIM].T) <= 1e-12


@torch.no_grad()
def test_each_token_reads_the_stream_through_the_context():
    attention, x, z = build("bidaf", "nc"), draw(1, 9, DIM), draw(1, CONTEXT, DIM)
    changed = x.clone()
    changed[:, 4] += 3 * draw(DIM, seed="other")
    moved = (attention(changed, z) - attention(x, z)).abs().amax(dim=-1)[0]
    assert (moved > 1e-6).all()
