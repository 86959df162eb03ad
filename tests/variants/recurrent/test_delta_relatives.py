"""KDA, Gated DeltaNet-2, Comba and DeltaProduct against their recurrences, and at their limits."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

NAMES = ("kda", "gdn2", "comba", "deltaproduct")
CHANNELS = {
    "kda": 3 * 15,
    "gdn2": 2 * 9 + 15,
    "comba": 2 * 12 + 15,
    "deltaproduct": 3 * 15 + 2 * 9,
}


def drawn(name, **options):
    """Build with every parameter away from where it starts."""
    attention = build(name, "cs", **options).requires_grad_(False)
    for number, parameter in enumerate(attention.parameters()):
        parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def convolved(attention, x):
    """The projections, each channel filtered by its last taps, SiLU: written out."""
    projected = torch.cat(
        [x @ attention.get_submodule(n).weight.T for n in ("query", "key", "value")], -1
    )
    taps = attention.convolution.convolution.weight[:, 0]
    out = torch.zeros_like(projected)
    for back in range(taps.shape[1]):
        out[:, back:] += projected[:, : x.shape[1] - back] * taps[:, -1 - back]
    return out * torch.sigmoid(out)


def unit(x):
    return x / (x.square().sum(dim=-1, keepdim=True) + 1e-6).sqrt()


def of_head(x, head):
    """The part of a head, the channels being cut into as many parts as there are heads."""
    return x.unflatten(-1, (HEADS, -1))[..., head, :]


def low_rank(layers, x):
    return x @ layers[0].weight.T @ layers[1].weight.T + layers[1].bias


def softplus(x):
    return torch.log1p(torch.exp(x))


def steps_of(name, attention, x, head):
    """Per token the decay (B, N, K), and for each step (key, erased, value, strength), and q."""
    narrow, parts = attention.query.out_features, []
    mixed = convolved(attention, x)
    if name == "deltaproduct":
        q, k, v = mixed.split((15, 30, 18), dim=-1)
        k, v = of_head(k, head).chunk(2, dim=-1), of_head(v, head).chunk(2, dim=-1)
        strength = 2 * torch.sigmoid(of_head(x @ attention.strength.weight.T, head))
        parts = [(unit(k[j]), unit(k[j]), v[j], strength[..., j, None]) for j in range(2)]
        q = unit(of_head(q, head))
    else:
        q, k, v = (of_head(part, head) for part in mixed.split((narrow, narrow, DIM), dim=-1))
        q, k = unit(q), unit(k)
    if name == "gdn2":
        erase = torch.sigmoid(of_head(x @ attention.erase.weight.T, head))
        write = torch.sigmoid(of_head(x @ attention.insert.weight.T, head))
        parts = [(k, erase * k, write * v, torch.ones_like(k[..., :1]))]
    if name in ("kda", "comba"):
        strength = torch.sigmoid(of_head(x @ attention.strength.weight.T, head))
        if name == "comba":
            q = q - attention.correction[head] * k
            parts = [(k, torch.sigmoid(attention.feedback[head]) * k, v, strength)]
        else:
            parts = [(k, k, v, strength)]
    rate = torch.exp(attention.log_rate.flatten()[head])
    if name in ("kda", "gdn2"):
        decay = torch.exp(-rate * softplus(of_head(low_rank(attention.decay, x), head)))
    else:
        step = softplus(x @ attention.decay.weight.T + attention.decay.bias)
        decay = torch.exp(-rate * step[..., head, None]).expand_as(q)
    return decay, parts, q


def recurrence(name, attention, x):
    """S = alpha S, then S = S + strength k (v - S^T erased)^T for each step; normed and gated."""
    width = 3 if name == "deltaproduct" else HEAD_WIDTH
    out = x.new_zeros(*x.shape[:2], HEADS * width)
    for head in range(HEADS):
        decay, parts, q = steps_of(name, attention, x, head)
        state = torch.zeros(x.shape[0], q.shape[-1], width, dtype=x.dtype)
        for t in range(x.shape[1]):
            state = decay[:, t, :, None] * state
            for key, erased, value, strength in parts:
                held = (erased[:, t, None] @ state)[:, 0]
                error = strength[:, t] * (value[:, t] - held)
                state = state + key[:, t, :, None] * error[:, None]
            mixed = (q[:, t, None] @ state)[:, 0]
            mixed = mixed / (mixed.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
            out[:, t, head * width : (head + 1) * width] = mixed * attention.norm.weight
    if name in ("kda", "gdn2"):
        out = out * torch.sigmoid(low_rank(attention.gate, x))
    if name == "comba":
        out = out * torch.sigmoid(x @ attention.gate.weight.T)
    return out @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 2, 7, 70])
@pytest.mark.parametrize("name", NAMES)
def test_each_is_its_recurrence(name, length):
    attention, x = drawn(name), draw(BATCH, length, DIM)
    assert attention.convolution.channels == CHANNELS[name]
    assert relative_difference(attention(x), recurrence(name, attention, x)) <= 1e-10


def test_with_one_gate_gdn2_is_kda():
    kda, x = drawn("kda"), draw(BATCH, 33, DIM)
    gdn2 = drawn("gdn2", key_share=1.0)
    gdn2.load_state_dict(kda.state_dict(), strict=False)
    strength = kda.strength.weight.repeat_interleave(HEAD_WIDTH, dim=0)
    for gate in (gdn2.erase, gdn2.insert):
        gate.weight.copy_(strength)
    assert relative_difference(gdn2(x), kda(x)) <= 1e-12


def test_with_negative_kda_reaches_twice_the_strength():
    kda, x = drawn("kda", negative=True), 10 * draw(BATCH, 33, DIM)
    tokens, _ = kda.read(x, kda.nothing_recent(BATCH))
    assert 1.5 < tokens[3].max() <= 2


def test_without_corrections_comba_is_gated_deltanet_up_to_its_gate():
    comba, gated = drawn("comba"), drawn("gated-deltanet")
    gated.load_state_dict(comba.state_dict(), strict=False)
    comba.feedback.fill_(1e3)
    comba.correction.zero_()
    x = draw(BATCH, 33, DIM)
    mixed = [one.mix(*one.read(x, one.nothing_recent(BATCH))[0]) for one in (comba, gated)]
    assert relative_difference(*mixed) <= 1e-12


def test_with_one_step_deltaproduct_is_gated_deltanet_up_to_its_gate():
    product = drawn("deltaproduct", steps=1, value_share=1.0)
    gated = drawn("gated-deltanet", negative=True, key_share=1.0)
    gated.load_state_dict(product.state_dict(), strict=False)
    x = draw(BATCH, 33, DIM)
    mixed = [one.mix(*one.read(x, one.nothing_recent(BATCH))[0]) for one in (product, gated)]
    assert relative_difference(*mixed) <= 1e-12


@pytest.mark.parametrize("name", ["comba", "deltaproduct"])
@pytest.mark.parametrize("heads", [1, 2])
def test_fewer_than_four_heads_have_value_heads(name, heads):
    attention, x = build(name, "cs", dim=16, heads=heads), draw(BATCH, 9, 16)
    (q, k, v, _, decay), _ = attention.read(x, attention.nothing_recent(BATCH))
    assert decay.shape == (BATCH, 4, 9)
    assert v.shape[-1] == (4 if name == "comba" else 2)
    for shared in (q, k):
        apart = shared.unflatten(1, (heads, -1))
        assert apart.equal(apart[:, :, :1].expand_as(apart))


def test_two_reflections_rotate_the_state():
    """With beta = 2, no decay and nothing written, a token turns what is stored by a rotation."""
    attention = build("deltaproduct", "cs", value_share=1.0).requires_grad_(False)
    keys = attention.state_shape[0]
    k = F.normalize(draw(1, 1, 1, 2, keys), dim=-1)
    nothing, two = torch.zeros(1, 1, 1, 2, HEAD_WIDTH).double(), torch.full((1, 1, 1, 2), 2.0)
    q, none = draw(1, 1, 1, keys), torch.zeros(1, 1, 1).double()
    memory = torch.eye(keys, HEAD_WIDTH).double()[None, None]
    _, turned = attention.advance(memory, q, k, nothing, two.double(), none)
    turn = turned[0, 0, :, :keys]
    assert relative_difference(turn @ turn.T, torch.eye(keys).double()) <= 1e-12
    assert torch.det(turn).item() == pytest.approx(1)
    assert not torch.allclose(turn, torch.eye(keys).double(), atol=0.1)


@both_dtypes
@pytest.mark.parametrize("name", NAMES)
def test_it_survives_a_long_sequence(name, dtype):
    assert_survives(name, "cs", dtype)
