"""Agent attention against its two softmaxes and a convolution, neighbour by neighbour."""

import pytest
import torch
from linear_oracles import assert_is, segment_means
from long_sequences import assert_survives, both_dtypes
from support import DIM, HEAD_WIDTH, HEADS, VARIANTS, build, draw, relative_difference

from cab.attention import build_attention
from cab.taxonomy import Pattern


def through_agents(attention, q, k, v, head):
    agents, scale = segment_means(q, attention.config.agents), q.shape[1] ** -0.5
    read = (scale * agents @ k.T).softmax(dim=1) @ v
    mixed = (scale * q @ agents.T).softmax(dim=1) @ read
    if attention.pattern == "ns":
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        kernel = attention.convolution.weight[cut, 0, 0]  # (E, 3)
        mixed = mixed + attention.convolution.bias[cut]
        for t in range(len(v)):
            for right in (-1, 0, 1):
                if 0 <= t + right < len(v):
                    mixed[t] += kernel[:, right + 1] * v[t + right]
    return mixed


@pytest.mark.parametrize("agents", [1, 3, 8])
@pytest.mark.parametrize("pattern", ["ns", "nc"])
def test_agent_attention_is_its_two_steps(pattern, agents):
    assert_is("agent", pattern, through_agents, agents=agents)


@torch.no_grad()
@pytest.mark.parametrize("pattern", ["ns", "nc"])
def test_as_many_agents_as_queries_are_the_queries(pattern):
    attention, x = build("agent", pattern, agents=17), draw(1, 17, DIM)
    context = draw(1, 29, DIM, seed="context") if pattern == "nc" else None
    if pattern == "ns":
        attention.convolution.weight.zero_()
        attention.convolution.bias.zero_()
    q = attention.split_heads(attention.query(x)) / HEAD_WIDTH**0.25
    k, v = (
        attention.split_heads(part(x if context is None else context))
        for part in (attention.key, attention.value)
    )
    k = k / HEAD_WIDTH**0.25
    mixed = (q @ q.mT).softmax(dim=-1) @ ((q @ k.mT).softmax(dim=-1) @ v)
    expected = attention.output(attention.merge_heads(mixed))
    assert relative_difference(attention(x, context), expected) <= 1e-12


@torch.no_grad()
def test_a_picture_is_convolved_in_two_dimensions():
    rows, columns = 3, 5
    attention = build_attention(
        VARIANTS.load("agent"),
        {},
        dim=DIM,
        heads=HEADS,
        pattern=Pattern.NS,
        max_length=rows * columns,
        grid=(rows, columns),
    )
    attention, x = attention.double().eval(), draw(1, rows * columns, DIM)
    kernel = attention.convolution.weight.clone()
    with_neighbours = attention(x)
    attention.convolution.weight.zero_()
    near = torch.zeros_like(x)
    v = attention.value(x)
    for t in range(rows * columns):
        for s in range(rows * columns):
            down, right = s // columns - t // columns, s % columns - t % columns
            if abs(down) <= 1 and abs(right) <= 1:
                near[:, t] += kernel[:, 0, down + 1, right + 1] * v[:, s]
    assert relative_difference(with_neighbours - attention(x), attention.output(near)) <= 1e-12


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("agent", "ns", dtype)
