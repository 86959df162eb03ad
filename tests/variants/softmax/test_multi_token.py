"""Multi-token attention: identity kernels are softmax, other kernels look around but not ahead."""

import pytest
import torch
from softmax_oracles import future_moves, padding_moves
from support import BATCH, build, draw, relative_difference, right_padding

MANY = {"dim": 20, "heads": 4}
WIDTH = 5
PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def build_drawn(pattern, **options):
    """With kernels drawn at random: those at the start, the identity, would hide what they see."""
    attention = build("multi-token", pattern, **MANY, **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            if parameter.ndim != 2:
                parameter.copy_(draw(*parameter.shape, seed=("kernel", number)))
    return attention


def by_the_paper(attention, x):
    """One row (N, D), sum by sum."""
    config, length = attention.config, x.shape[0]
    causal = attention.pattern == "cs"
    q, k, v = (read(x) for read in (attention.query, attention.key, attention.value))
    ahead = 0 if causal else (config.query_kernel - 1) // 2
    maps = []
    for head in range(4):
        cut = slice(head * WIDTH, (head + 1) * WIDTH)
        logits = q[:, cut] @ k[:, cut].T / WIDTH**0.5
        convolved = torch.full((length, length), -torch.inf, dtype=x.dtype)
        for t in range(length):
            for s in range(t + 1 if causal else length):
                total = 0.0
                for i in range(config.query_kernel):
                    for j in range(config.key_kernel):
                        row = t + i - (config.query_kernel - 1 - ahead)
                        column = s + j - config.key_kernel // 2
                        inside = 0 <= row < length and 0 <= column < length
                        if inside and (not causal or column <= row):
                            theta = attention.score_kernel[head, 0, i, j]
                            total = total + theta * logits[row, column]
                convolved[t, s] = total
        maps.append(convolved.softmax(dim=-1))
    out = torch.zeros_like(x)
    size = attention.head_kernel.shape[1]
    for head in range(4):
        cut = slice(head * WIDTH, (head + 1) * WIDTH)
        group, own = divmod(head, size)
        mixed = sum(
            attention.head_kernel[group, own, other] * maps[group * size + other]
            for other in range(size)
        )
        one = mixed @ v[:, cut]
        if config.normalise:
            one = one / (one.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
            one = one * attention.scale
            opened = one @ attention.gate.weight[0] + attention.gate.bias
            one = one * torch.sigmoid(opened)[:, None]
        out[:, cut] = one
    return attention.output(out)


@PATTERNS
@pytest.mark.parametrize("heads_mixed", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [(1, 1), (6, 11), (2, 4), (5, 3), (9, 30)])
def test_identity_kernels_are_softmax(pattern, kernel, heads_mixed):
    options = {"query_kernel": kernel[0], "key_kernel": kernel[1], "head_kernel": heads_mixed}
    attention = build("multi-token", pattern, normalise=False, **options, **MANY)
    softmax, state = build("softmax", pattern, **MANY), attention.state_dict()
    softmax.load_state_dict({k: v for k, v in state.items() if "kernel" not in k})
    x, padding = draw(BATCH, 17, 20), right_padding([17, 8, 1, 3], 17)
    for mask in (None, padding):
        got, expected = (one(x, key_padding_mask=mask) for one in (attention, softmax))
        assert relative_difference(got, expected) <= 1e-12


@PATTERNS
@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"query_kernel": 3, "key_kernel": 5}, 7),
        ({"query_kernel": 2, "key_kernel": 4, "head_kernel": 4}, 6),
        ({"query_kernel": 4, "key_kernel": 2, "normalise": False}, 5),
        ({}, 3),
    ],
)
def test_it_is_the_sums_of_the_paper(pattern, options, length):
    attention, x = build_drawn(pattern, **options), draw(2, length, 20)
    with torch.no_grad():
        expected = torch.stack([by_the_paper(attention, row) for row in x])
        assert relative_difference(attention(x), expected) <= 1e-11


@pytest.mark.parametrize("kernel", [(1, 11), (6, 1), (6, 11), (3, 4)])
def test_drawn_kernels_show_no_future(kernel):
    attention = build_drawn("cs", query_kernel=kernel[0], key_kernel=kernel[1])
    for length in (2, 7, 17):
        assert future_moves(attention, length) <= 1e-12


@PATTERNS
@pytest.mark.parametrize("kernel", [(6, 11), (3, 4)])
def test_drawn_kernels_carry_nothing_out_of_padding(pattern, kernel):
    attention = build_drawn(pattern, query_kernel=kernel[0], key_kernel=kernel[1])
    for lengths in ([7, 2, 1, 6, 4], [17, 3, 0, 16]):
        assert padding_moves(attention, lengths) <= 1e-10


@pytest.mark.parametrize("query_kernel", [1, 2, 6, 20])
def test_stepping_keeps_the_queries_that_the_kernel_reaches(query_kernel):
    attention, x = build_drawn("cs", query_kernel=query_kernel), draw(BATCH, 13, 20)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(13):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-11
    assert state.q.shape == (BATCH, 4, query_kernel - 1, WIDTH)


def test_a_kernel_finds_two_neighbouring_keys_that_no_single_score_tells():
    """The paper's example: a place where two things stand side by side, each common elsewhere."""
    attention = build("multi-token", "ns", dim=4, heads=1, query_kernel=1, key_kernel=3,
                      normalise=False)  # fmt: skip
    with torch.no_grad():
        attention.query.weight.zero_()[:, 3] = 40.0  # feature 3 asks for features 0 and 1
        attention.key.weight.copy_(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])))
        attention.score_kernel.fill_(1.0)
        attention.value.weight.copy_(torch.eye(4))
        attention.output.weight.copy_(torch.eye(4))
    # Alice far from the rabbit, and then beside it.
    kinds = [0, None, None, 1, None, None, 0, 1, None]
    x = torch.zeros(1, 9, 4, dtype=torch.float64)
    for position, kind in enumerate(kinds):
        x[0, position, 3] = 1.0
        if kind is not None:
            x[0, position, kind] = 1.0
    place = torch.zeros(9, dtype=torch.float64)
    place[6:8] = 0.5  # the two windows that hold both
    expected = place @ x[0]
    assert relative_difference(attention(x)[0], expected.expand(9, 4)) <= 1e-6


@pytest.mark.parametrize("name", ["query_kernel", "key_kernel", "head_kernel"])
def test_an_empty_kernel_is_refused(name):
    with pytest.raises(Exception, match="must be at least 1"):
        build("multi-token", "ns", **{name: 0})
