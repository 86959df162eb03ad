"""MoSA's heads attend among the tokens they choose, weigh them, and learn to choose."""

import numpy as np
import pytest
import torch
from sparse_oracles import build_sparse, masked_softmax
from support import BATCH, DIM, HEAD_WIDTH, HEADS, draw, relative_difference, right_padding


@pytest.mark.parametrize(
    ("sparsity", "length"), [(2, 7), (4, 17), (30, 5), (1, 9), (3, 1), (4, 26)]
)
def test_each_head_is_softmax_among_its_tokens_times_their_scores(sparsity, length):
    attention = build_sparse("mosa", sparsity=sparsity)
    x = draw(BATCH, length, DIM)
    with torch.no_grad():
        q, k, v = (
            attention.split_heads(read(x)).numpy()
            for read in (attention.query, attention.key, attention.value)
        )
        liking = attention.router(x).sigmoid().numpy()
    out = np.zeros(q.shape)
    for row, head in np.ndindex(BATCH, HEADS):
        chosen = np.argsort(-liking[row, :, head])[: max(length // sparsity, min(2, length))]
        weights = np.exp(q[row, head, chosen] @ k[row, head, chosen].T / HEAD_WIDTH**0.5)
        mixed = weights / weights.sum(axis=1, keepdims=True) @ v[row, head, chosen]
        out[row, head, chosen] = liking[row, chosen, head][:, None] * mixed
    expected = attention.output(attention.merge_heads(torch.from_numpy(out)))
    assert relative_difference(attention(x), expected) <= 1e-12


def test_a_row_that_padding_makes_shorter_chooses_as_many_as_it_would_alone():
    attention, lengths = build_sparse("mosa", sparsity=3), [17, 9, 4, 1]
    x, padding = draw(BATCH, 17, DIM), right_padding(lengths, 17)
    out = attention(x, key_padding_mask=padding)
    for row, length in enumerate(lengths):
        alone = attention(x[row : row + 1, :length])[0]
        assert relative_difference(out[row, :length], alone) <= 1e-12


def test_with_all_tokens_liked_alike_it_is_half_of_softmax():
    attention, x = build_sparse("mosa", sparsity=1), draw(BATCH, 17, DIM)
    torch.nn.init.zeros_(attention.router.weight)
    softmax = masked_softmax(attention, x, np.ones((17, 17), bool))
    assert relative_difference(attention(x), softmax / 2) <= 1e-12


def test_the_router_learns_to_choose_the_tokens_that_matter():
    attention = build_sparse("mosa", heads=1, sparsity=4)
    optimiser = torch.optim.Adam(attention.parameters(), lr=0.03)

    def picture(step):
        """Tokens of which a quarter is marked."""
        x = draw(16, 16, DIM, seed=step)
        marked = draw(16, 16, seed=("marks", step)).topk(4, dim=1).indices
        x[..., 0] = torch.full((16, 16), -1.0).double().scatter(1, marked, 1.0)
        return x, x[..., 0] > 0

    def found():
        x, marked = picture("test")
        chosen = attention.router(x)[..., 0].topk(4, dim=1).indices
        return marked.gather(1, chosen).double().mean()

    torch.nn.init.zeros_(attention.router.weight)
    assert found() < 0.5
    for step in range(150):
        x, marked = picture(step)
        # A marked token is to say what it holds, all others nothing.
        target = x * marked[..., None]
        loss = (attention(x) - target)[..., 1:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert found() > 0.9
