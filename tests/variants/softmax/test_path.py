"""PaTH attention lets every token between a key and a query change how they meet."""

import naive_operators as naive
import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

from cab.variants.softmax._householder import householder_paths


def drawn(**options):
    """A module whose parameters all differ."""
    attention = build("path", "cs", **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def tokens(attention, x):
    """q, k, v, w (B, H, N, E) and beta (B, H, N), with the convolution in plain loops."""
    q, k, v = (
        split(x @ part.weight.T, HEADS)
        for part in (attention.query, attention.key, attention.value)
    )
    first, second = attention.direction
    raw = x @ first.weight.T @ second.weight.T
    kernel = attention.convolution.weight[:, 0]  # (D, kernel)
    w = torch.zeros_like(raw)
    for t in range(x.shape[1]):
        for back in range(kernel.shape[1]):
            if t >= back:
                w[:, t] += raw[:, t - back] * kernel[:, -1 - back]
    w = split(w * w.sigmoid(), HEADS)
    w = w / (w.square().sum(dim=-1, keepdim=True) + 1e-6).sqrt()
    strength = 2 * (x @ attention.strength.weight.T + attention.strength.bias).sigmoid()
    return q, k, v, w, strength.transpose(1, 2)


@pytest.mark.parametrize("options", [{}, {"block": 4}, {"block": 1, "kernel": 1, "rank": 3}])
def test_it_is_the_formula_of_the_paper(options):
    attention = drawn(**options)

    def expected(x, source, padding):
        q, k, v, w, strength = tokens(attention, x)

        def score(b, h, t, s):
            carried = k[b, h, s]
            for i in range(s + 1, t + 1):
                along = w[b, h, i]
                carried = carried - strength[b, h, i] * along * (along @ carried)
            return q[b, h, t] @ carried / HEAD_WIDTH**0.5

        read = read_by_loops(score, v, x.shape[1], causal=True, padding=padding)
        return merge(read) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-11


@naive.needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.parametrize("length", [1, 23])
def test_output_and_gradients_are_those_of_flash_linear_attention(length):
    attention, x = drawn(block=8), draw(BATCH, length, DIM).requires_grad_()
    turned = [part.transpose(1, 2) for part in tokens(attention, x)]
    no_gate = torch.zeros(BATCH, length, HEADS, dtype=torch.float64)
    options = {"scale": HEAD_WIDTH**-0.5, "chunk_size": 16}
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # it stores scores in the default type
    try:
        mixed = naive.call("path_attn.naive", "naive_path_attn", *turned, no_gate, **options)
    finally:
        torch.set_default_dtype(before)
    expected, got = attention.output(mixed.flatten(-2)), attention(x)
    assert relative_difference(got, expected) <= 1e-11
    above, wanted = draw(*got.shape, seed="above"), [x, *attention.parameters()]
    pairs = zip(
        torch.autograd.grad(got, wanted, above, allow_unused=length == 1),
        torch.autograd.grad(expected, wanted, above, allow_unused=length == 1),
        strict=True,
    )
    for one, other in pairs:
        if one is not None and other is not None:
            assert relative_difference(one, other) <= 1e-9


@pytest.mark.parametrize(("length", "block"), [(1, 8), (8, 8), (13, 5), (13, 64)])
def test_what_leads_out_of_a_sequence_is_the_product_of_its_matrices(length, block):
    q, k, w = (draw(2, 3, length, 5, seed=name) for name in "qkw")
    strength = 2 * draw(2, 3, length, seed="b").sigmoid()
    w = w / w.norm(dim=-1, keepdim=True)
    paths = householder_paths(q, k, w, strength, block=block)
    queries, keys = torch.zeros_like(q), k.clone()
    total = torch.eye(5, dtype=torch.float64).expand(2, 3, 5, 5)
    for t in range(length):
        one = w[:, :, t, :, None]
        matrix = torch.eye(5) - strength[:, :, t, None, None] * one @ one.mT
        total = matrix @ total  # H_t ... H_1
        queries[:, :, t] = (q[:, :, t, None] @ total)[:, :, 0]
        keys[:, :, :t] = keys[:, :, :t] @ matrix.mT
    assert relative_difference(paths.queries, queries) <= 1e-12
    assert relative_difference(paths.keys, keys) <= 1e-12
    assert relative_difference(paths.total, total) <= 1e-12


def test_decoding_carries_the_keys_on_and_gives_the_outputs_of_the_whole_sequence():
    attention, x = drawn(block=4), draw(BATCH, 19, DIM)
    state, outputs = attention.initial_state(BATCH), []
    for part in (x[:, :7], x[:, 7:8], x[:, 8:16]):
        y, state = attention.prefill(part, state)
        outputs.append(y)
    for t in range(16, 19):
        y, state = attention.step(x[:, t], state)
        outputs.append(y[:, None])
    assert relative_difference(torch.cat(outputs, dim=1), attention(x)) <= 1e-11


def test_without_strength_it_is_softmax():
    attention, softmax = build("path", "cs"), build("softmax", "cs")
    state = attention.state_dict()
    state["strength.weight"].zero_()
    state["strength.bias"].fill_(-1e3)
    names = [name for name in state if name.split(".")[0] in ("query", "key", "value", "output")]
    softmax.load_state_dict({name: state[name] for name in names})
    x = draw(BATCH, 70, DIM)
    assert relative_difference(attention(x), softmax(x)) <= 1e-12


@pytest.mark.parametrize("options", [{"rank": 0}, {"kernel": 0}, {"block": 0}])
def test_sizes_of_nothing_are_refused(options):
    with pytest.raises(Exception, match="must be at least 1"):
        build("path", "cs", **options)
