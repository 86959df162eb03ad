"""Mega against its equations; without attention it is its moving average."""

import pytest
import torch
import torch.nn.functional as F
from support import DIM, build, draw, relative_difference, right_padding


def average(attention, x):
    """a = alpha beta x + (1 - alpha delta) a, y = eta a / sqrt(h); NS: from the end as well."""
    parts, length = attention.average, x.shape[1]
    y = torch.zeros_like(x)
    for direction in range(parts.rate.shape[0]):
        rate = parts.rate[direction].sigmoid()
        keep = 1 - rate * parts.damping[direction].sigmoid()
        reading = parts.projection[direction] / rate.shape[-1] ** 0.5
        state = torch.zeros(x.shape[0], *rate.shape, dtype=x.dtype)
        for t in range(length) if direction == 0 else reversed(range(length)):
            if direction == 1:  # the token itself is the forward average's
                y[:, t] += (reading * keep * state).sum(dim=-1)
            state = rate * parts.expansion[direction] * x[:, t, :, None] + keep * state
            if direction == 0:
                y[:, t] += (reading * state).sum(dim=-1)
    return y


def equations(attention, x, chunk=None, attend=True):
    """Return phi (h - x), pair by pair."""
    smooth = F.silu(average(attention, x) + attention.skip * x)
    update, shared, reset, hidden = attention.from_average(smooth).split(
        (DIM, DIM // 4, DIM // 2, DIM), dim=-1
    )
    shared, reset = F.silu(shared), F.silu(reset)
    q, k = (shared * attention.scale[i] + attention.offset[i] for i in (0, 1))
    v, length, causal = F.silu(attention.value(x)), x.shape[1], attention.pattern.causal
    mixed = torch.zeros_like(v)
    for t in range(length):
        seen = [
            s
            for s in range(t + 1 if causal else length)
            if chunk is None or s // chunk == t // chunk
        ]
        distances = [s - t + attention.distances - 1 for s in seen]
        scores = (k[:, seen] @ q[:, t, :, None])[..., 0] / (DIM // 4) ** 0.5
        weights = (scores + attention.bias[distances]).softmax(dim=-1)
        mixed[:, t] = (weights[:, None] @ v[:, seen])[:, 0]
    answer = attention.hidden(reset * mixed) if attend else 0.0
    return update.sigmoid() * (F.silu(hidden + answer) - x)


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 2, 7, 19])
def test_mega_is_its_equations(pattern, length):
    attention, x = build("mega", pattern).requires_grad_(False), draw(2, length, DIM)
    assert relative_difference(attention(x), equations(attention, x)) <= 1e-11


@pytest.mark.parametrize("length", [1, 2, 7, 19])
def test_both_averages_are_one_circular_convolution(length):
    """The published algorithm: backward taps from distance 1 on, by FFT of twice the length."""
    attention, x = build("mega", "ns").requires_grad_(False), draw(2, length, DIM)
    average = attention.average
    alpha, delta = average.rate.sigmoid(), average.damping.sigmoid()
    reading = average.projection / average.projection.shape[-1] ** 0.5
    powers = (1 - alpha * delta)[..., None] ** torch.arange(length)
    forward, backward = ((alpha * average.expansion * reading)[..., None] * powers).sum(dim=2)
    kernel = torch.zeros(DIM, 2 * length, dtype=x.dtype)
    kernel[:, :length] = forward
    kernel[:, length + 1 :] = backward[:, 1:].flip(-1)
    spectrum = torch.fft.rfft(x.mT, n=2 * length) * torch.fft.rfft(kernel)
    expected = torch.fft.irfft(spectrum, n=2 * length)[..., :length].mT
    assert relative_difference(average(x), expected) <= 1e-11


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("chunk", [1, 4, 5, 19, 30])
def test_mega_chunk_is_its_equations(pattern, chunk):
    attention = build("mega-chunk", pattern, chunk=chunk).requires_grad_(False)
    x = draw(2, 19, DIM)
    assert relative_difference(attention(x), equations(attention, x, chunk)) <= 1e-11


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("name", ["mega", "mega-chunk"])
def test_without_attention_only_the_moving_average_mixes(name, pattern):
    attention, x = build(name, pattern).requires_grad_(False), draw(2, 19, DIM)
    attention.hidden.weight.zero_()
    chunk = getattr(attention.config, "chunk", None)
    expected = equations(attention, x, chunk, attend=False)
    assert relative_difference(attention(x), expected) <= 1e-11


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_a_chunk_as_long_as_the_sequence_is_mega(pattern):
    whole, chunked = build("mega", pattern), build("mega-chunk", pattern, chunk=256)
    chunked.load_state_dict(whole.state_dict())
    x, padding = draw(3, 40, DIM), right_padding([40, 4, 9], 40)
    got, expected = (one(x, key_padding_mask=padding) for one in (chunked, whole))
    assert relative_difference(got[~padding], expected[~padding]) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_without_the_average_chunks_do_not_meet(pattern):
    attention, x = build("mega-chunk", pattern, chunk=5).requires_grad_(False), draw(1, 19, DIM)
    attention.average.projection.zero_()
    changed = x.clone()
    changed[:, 5:10] += 1
    moved = (attention(changed) - attention(x)).abs().amax(dim=2)[0] > 0
    assert moved.nonzero().flatten().tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_mega_chunk_survives_a_long_sequence(pattern, dtype):
    attention = build("mega-chunk", pattern, dim=4, heads=1, dtype=dtype)
    x = draw(1, 65_537, 4, dtype=dtype).requires_grad_()
    attention(x).sum().backward()
    leaves = [x, *attention.parameters()]
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
