"""Exclusive self attention leaves nothing along a token's own value."""

import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


@PATTERNS
def test_it_is_the_formula_of_the_paper(pattern):
    attention = build("xsa", pattern)

    def expected(x, source, padding):
        q, k, v = (
            split(x @ part.weight.T, HEADS)
            for part in (attention.query, attention.key, attention.value)
        )
        read = read_by_loops(
            lambda b, h, t, s: q[b, h, t] @ k[b, h, s] / HEAD_WIDTH**0.5,
            v,
            x.shape[1],
            causal=pattern == "cs",
            padding=padding,
        )
        along = torch.einsum("bhte,bhte->bht", read, v) / v.square().sum(dim=-1)
        return merge(read - along[..., None] * v) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


@PATTERNS
def test_the_answer_is_orthogonal_to_the_own_value(pattern):
    attention, x = build("xsa", pattern), draw(BATCH, 17, DIM)
    q, k, v = (
        attention.split_heads(part(x))
        for part in (attention.query, attention.key, attention.value)
    )
    answer = attention.attend(q, k, v)
    assert (answer * v).sum(dim=-1).abs().max() <= 1e-13
    assert answer.abs().amax(dim=(1, 3))[:, 1:].min() > 1e-3
    if pattern == "cs":
        assert not answer[:, :, 0].any()


def test_a_value_of_zero_leaves_the_answer_and_finite_gradients():
    attention, x = build("xsa", "ns"), draw(2, 5, DIM).requires_grad_()
    alone = torch.cat((x[:, :4], torch.zeros(2, 1, DIM)), dim=1)
    for dtype in (torch.float16, torch.float32, torch.float64):
        out = attention.to(dtype)(alone.to(dtype))
        (gradient,) = torch.autograd.grad(out.double().square().sum(), x, retain_graph=True)
        assert out.isfinite().all()
        assert gradient.isfinite().all()


def test_heads_of_one_channel_are_refused():
    with pytest.raises(ValueError, match="width 2 or more"):
        build("xsa", "ns", dim=3, heads=3)
