"""Softmax in chunks is softmax, whatever the chunks, and however many heads go together."""

import pytest
import torch
from support import draw, relative_difference, right_padding

from cab.kernels.softmax import chunked
from cab.kernels.softmax.chunked import chunked_softmax

BATCH, HEADS, QUERIES, KEYS, WIDTH, VALUES = 2, 3, 13, 11, 5, 7


def inputs() -> list[torch.Tensor]:
    shapes = ((QUERIES, WIDTH), (KEYS, WIDTH), (KEYS, VALUES))
    names = "qkv"
    return [
        draw(BATCH, HEADS, *shape, seed=name).requires_grad_()
        for shape, name in zip(shapes, names, strict=True)
    ]


def expected(q, k, v, causal: bool, offset: int, padding) -> torch.Tensor:
    """The definition, a query at a time."""
    hidden = torch.zeros(BATCH, QUERIES, KEYS, dtype=torch.bool)
    if padding is not None:
        hidden |= padding[:, None]
    if causal:
        hidden |= torch.arange(KEYS) > torch.arange(QUERIES)[:, None] + offset
    rows = []
    for t in range(QUERIES):
        weights = (q[:, :, t, None] * k).sum(dim=-1).div(WIDTH**0.5).exp()
        weights = weights * ~hidden[:, None, t]
        total = weights.sum(dim=-1, keepdim=True)
        weights = weights / torch.where(total == 0, 1.0, total)
        rows.append((weights[..., None] * v).sum(dim=2))
    return torch.stack(rows, dim=2)


@pytest.mark.parametrize("block", [1, 40, 10**9], ids=["a head", "two heads", "all heads"])
@pytest.mark.parametrize("chunks", [(4, 5), (13, 11), (3, 100), (1, 1)])
@pytest.mark.parametrize("offset", [-4, -2, 0, 3])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_values_and_gradients_are_those_of_the_definition(
    monkeypatch, block, chunks, offset, causal, padded
):
    monkeypatch.setitem(chunked.BLOCK, "cpu", block)
    padding = right_padding([KEYS, 3], KEYS) if padded else None
    if padding is not None:
        padding[1, 0] = True  # at the left, too
    kept = {"query_chunk": chunks[0], "key_chunk": chunks[1], "key_padding_mask": padding}
    tensors = inputs()
    got = chunked_softmax(*tensors, causal=causal, offset=offset, **kept)
    wanted = expected(*tensors, causal, offset, padding)
    assert relative_difference(got, wanted) <= 1e-13
    weights = draw(*got.shape, seed="weights")
    for one, other in zip(
        torch.autograd.grad((got * weights).sum(), tensors),
        torch.autograd.grad((wanted * weights).sum(), tensors),
        strict=True,
    ):
        assert relative_difference(one, other) <= 1e-12


def test_nothing_as_long_as_a_map_is_saved():
    long, tokens = 4096, 0
    q, k, v = (torch.randn(1, 2, long, 8, requires_grad=True) for _ in range(3))

    def note(saved: torch.Tensor) -> torch.Tensor:
        nonlocal tokens
        tokens = max(tokens, saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        chunked_softmax(q, k, v, causal=True, offset=0)
    assert tokens == q.numel()


def test_scores_that_would_overflow_do_not():
    q, k, v = (1e3 * one.detach() for one in inputs())
    out = chunked_softmax(q, k, v, causal=False, offset=0, query_chunk=4, key_chunk=3)
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out, (q @ k.mT / WIDTH**0.5).softmax(dim=-1) @ v)
