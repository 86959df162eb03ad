"""The Forgetting Transformer's attention: log gates between a key and a query join the score."""

import math

import naive_operators as naive
import pytest
import torch
from reading_by_loops import differences, merge, read_by_loops, split
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

from cab.kernels.linear.time_constants import spread


def projected(attention, x):
    return tuple(
        split(x @ part.weight.T, HEADS)
        for part in (attention.query, attention.key, attention.value)
    )


def gates_of(attention, x):
    return (x @ attention.forget.weight.T + attention.forget.bias).sigmoid()


def test_it_is_the_formula_of_the_paper():
    attention = build("fox", "cs", max_length=9)

    def expected(x, source, padding):
        q, k, v = projected(attention, x)
        gates = gates_of(attention, x)

        def score(b, h, t, s):
            between = math.prod(gates[b, i, h].item() for i in range(s + 1, t + 1))
            return q[b, h, t] @ k[b, h, s] / HEAD_WIDTH**0.5 + math.log(between)

        read = read_by_loops(score, v, x.shape[1], causal=True, padding=padding)
        return merge(read) @ attention.output.weight.T

    assert max(differences(attention, expected)) <= 1e-12


@naive.needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_output_and_gradients_are_those_of_flash_linear_attention():
    attention, x = build("fox", "cs"), draw(BATCH, 67, DIM).requires_grad_()
    q, k, v = (
        part(x).unflatten(-1, (HEADS, -1))
        for part in (attention.query, attention.key, attention.value)
    )
    mixed = naive.call(
        "forgetting_attn.naive", "naive_forgetting_attn", q, k, v, gates_of(attention, x).log()
    )
    expected, got = attention.output(mixed.flatten(-2)), attention(x)
    assert relative_difference(got, expected) <= 1e-12
    above, wanted = draw(*got.shape, seed="above"), [x, *attention.parameters()]
    pairs = zip(
        torch.autograd.grad(got, wanted, above),
        torch.autograd.grad(expected, wanted, above),
        strict=True,
    )
    for one, other in pairs:
        assert relative_difference(one, other) <= 1e-10


@pytest.mark.parametrize("gate", [1.0, 2**-4])
def test_constant_gates_are_softmax_or_linear_biases(gate):
    attention = build("fox", "cs", dim=10, heads=2)
    other = build("softmax" if gate == 1.0 else "alibi", "cs", dim=10, heads=2)
    state = attention.state_dict()
    for name in ("forget.weight", "forget.bias"):
        state[name].zero_()
    slopes = torch.tensor([2**-4, 2**-8]).double() if gate < 1 else torch.zeros(2)
    bias = -slopes - (-torch.expm1(-slopes)).log()  # the logit of exp(-slope)
    state["forget.bias"].copy_(bias.clamp(max=1e3))
    other.load_state_dict({k: v for k, v in state.items() if "forget" not in k})
    x = draw(BATCH, 33, 10)
    assert relative_difference(attention(x), other(x)) <= 1e-12


def test_the_time_constants_start_by_the_length_of_training():
    attention = build("fox", "cs", dim=20, heads=4, max_length=128)
    tau = -1 / torch.nn.functional.logsigmoid(attention.forget.bias)
    assert relative_difference(tau, spread(4, 128)) <= 1e-5


def test_after_thousands_of_tokens_in_parts_near_ones_are_still_told_apart_in_float32():
    attention, x = build("fox", "cs"), draw(1, 2_000, DIM)
    attention.forget.bias.data.fill_(-1.0)  # over all tokens log gates add up to -2,600
    with torch.no_grad():
        expected = attention(x[:, -80:])[:, -1]  # less than exp(-100) is left of what is before
        attention.float()
        state = attention.initial_state(1)
        for part in x.float().split(100, dim=1):
            y, state = attention.prefill(part, state)
    assert relative_difference(y[:, -1].double(), expected) <= 1e-5
