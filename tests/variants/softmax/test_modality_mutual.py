"""Modality-mutual attention is softmax attention under the paper's mask."""

import pytest
import torch
from support import DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding


def by_loops(attention, x, first):
    q, k, v = attention.query(x), attention.key(x), attention.value(x)
    out = torch.zeros_like(x)
    for t in range(len(x)):
        seen = [s for s in range(len(x)) if s <= t or (t < first <= s)]
        for head in range(HEADS):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            weights = (k[seen][:, cut] @ q[t, cut] / HEAD_WIDTH**0.5).softmax(dim=0)
            out[t, cut] = weights @ v[seen][:, cut]
    return attention.output(out)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@torch.no_grad()
def test_it_is_the_paper_s_mask_in_loops(share):
    attention, x = build("modality-mutual", "ns", share=share), draw(4, 11, DIM)
    lengths = [11, 6, 2, 1]
    out = attention(x, key_padding_mask=right_padding(lengths, 11))
    for row, length in enumerate(lengths):
        expected = by_loops(attention, x[row, :length], int(share * length))
        assert relative_difference(out[row, :length], expected) <= 1e-12


@pytest.mark.parametrize("share", [0.0, 1.0])
@torch.no_grad()
def test_one_segment_alone_is_causal(share):
    attention, causal = build("modality-mutual", "ns", share=share), build("softmax", "cs")
    causal.load_state_dict(attention.state_dict())
    x = draw(2, 9, DIM)
    assert relative_difference(attention(x), causal(x)) <= 1e-12
