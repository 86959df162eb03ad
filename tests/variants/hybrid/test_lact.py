"""LaCT against its training loop, one head at a time, with gradients found by autograd."""

import math

import pytest
import torch
import torch.nn.functional as F
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

from cab.errors import CabError


def disturbed(pattern, **options):
    """A module whose parameters all differ."""
    attention = build("lact", pattern, **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def network(x, gate, up, down):
    return down @ (F.silu(gate @ x) * (up @ x))


def orthogonal(x):
    """The quintic steps by the singular values, which they change one by one."""
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    values = values / values.square().sum().sqrt()
    for a, b, c in (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ):
        values = a * values + b * values**3 + c * values**5
    return left @ torch.diag(values) @ right


def unit(x):
    return x / x.square().sum(dim=-1, keepdim=True).add(1e-10).sqrt()


def first_weights(attention, head):
    half = 0.5 * torch.eye(attention.down.shape[2], HEAD_WIDTH).double()
    gate, up = (attention.left[head, i] @ attention.right[head, i] + half for i in range(2))
    return [gate, up, attention.down[head, 0].T.clone()]


def trained(weights, first, momentum, keep, tokens, muon):
    """Return the weights after one step on tokens of (k, v, three rates), and the momentum."""
    leaves = [weight.detach().requires_grad_() for weight in weights]
    total = [torch.zeros_like(weight) for weight in weights]
    for k, v, rates in tokens:
        with torch.enable_grad():
            slopes = torch.autograd.grad(-(network(k, *leaves) @ v), leaves)
        total = [one - rate * slope for one, rate, slope in zip(total, rates, slopes, strict=True)]
    momentum = [keep * old + new for old, new in zip(momentum, total, strict=True)]
    after = []
    for weight, step, start in zip(weights, momentum, first, strict=True):
        changed = weight + (orthogonal(step) if muon else step)
        norms = changed.norm(dim=1, keepdim=True) + 1e-5
        after.append(changed / norms * start.norm(dim=1, keepdim=True))
    return after, momentum


def by_loop(attention, x, kept):
    """One row (N, D): train after each chunk (NS: once, before all), ask, attend, gate."""
    config, causal, length = attention.config, attention.pattern.causal, len(x)
    q, k, v = (part(x) for part in (attention.query, attention.key, attention.value))
    shift = math.log(math.exp(config.rate) - 1)
    rates = torch.log1p(torch.exp(attention.rates(x) + shift)) * kept[:, None]
    keep = attention.momentum(x).sigmoid() if causal else None
    strength = F.silu(attention.strength(x))
    near_q, near_k = (y * attention.scale[i] + attention.shift[i] for i, y in enumerate((q, k)))
    out = torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        asked, read = unit(F.silu(q[:, cut])), unit(F.silu(k[:, cut]))
        own = rates[:, 3 * head : 3 * head + 3]
        tokens = list(zip(read, F.silu(v[:, cut]), own, strict=True))
        first = weights = first_weights(attention, head)
        momentum = [torch.zeros_like(weight) for weight in first]
        if not causal:
            weights, _ = trained(weights, first, momentum, 0.0, tokens, config.muon)
        for t in range(length):
            if causal and t and t % config.chunk == 0:
                now = slice(t - config.chunk, t)
                weights, momentum = trained(
                    weights, first, momentum, keep[now, head].mean(), tokens[now], config.muon
                )
            answer = network(asked[t], *weights)
            answer = answer / (answer.square().mean() + 1e-5).sqrt() * attention.norm.weight
            seen = [
                s
                for s in range(length)
                if abs(t - s) < config.window and kept[s] and (s <= t or not causal)
            ]
            scores = near_k[seen][:, cut] @ near_q[t, cut] / HEAD_WIDTH**0.5
            near = scores.softmax(dim=0) @ v[seen][:, cut] if seen else 0.0
            out[t, cut] = strength[t, head] * answer + near
    return attention.output(out)


OPTIONS = [
    {},
    {"chunk": 3, "window": 4, "rate": 0.2},
    {"chunk": 4, "window": 6, "rank": 3, "muon": True},
    {"chunk": 5, "window": 5, "expand": 2, "rate": 0.3, "muon": True},
]


@torch.no_grad()
@pytest.mark.parametrize("pattern", ["cs", "ns"])
@pytest.mark.parametrize("length", [1, 3, 17])
@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_its_training_loop(options, length, pattern):
    attention, x = disturbed(pattern, **options), draw(BATCH, length, DIM)
    padding = draw(BATCH, length, seed="holes") > 0.7
    for mask in (None, padding):
        got = attention(x, key_padding_mask=mask)
        for row in range(BATCH):
            kept = torch.ones(length, dtype=torch.bool) if mask is None else ~mask[row]
            if not kept.any():
                continue
            here = x[row].masked_fill(~kept[:, None], 0.0)
            assert relative_difference(got[row], by_loop(attention, here, kept)) <= 1e-7


@torch.no_grad()
def test_a_chunk_is_asked_before_it_is_learned():
    """Beyond the window a token reaches others through f alone, from the next chunk on."""
    attention, x = disturbed("cs", chunk=4, window=4), draw(1, 20, DIM)
    changed = x.clone()
    changed[:, 4] += 1.0
    moved = (attention(x) - attention(changed)).abs().amax(dim=-1)[0] > 1e-9
    assert moved.tolist() == [False] * 4 + [True] * 16
    attention.strength.weight.zero_()
    attention.strength.bias.zero_()
    moved = (attention(x) - attention(changed)).abs().amax(dim=-1)[0] > 1e-9
    assert moved.tolist() == [False] * 4 + [True] * 4 + [False] * 12


@torch.no_grad()
def test_a_prompt_may_be_read_in_parts():
    attention, x = disturbed("cs", chunk=4, window=5), draw(BATCH, 15, DIM)
    state, parts = attention.initial_state(BATCH), []
    for part in x.split((1, 0, 9, 5), dim=1):
        out, state = attention.prefill(part, state)
        parts.append(out)
    assert relative_difference(torch.cat(parts, dim=1), attention(x)) <= 1e-10


def test_steps_of_muon_have_singular_values_near_1():
    from cab.variants.hybrid._fast_weights import _orthogonal

    for shape in ((2, 5, 7), (2, 7, 5), (1, 6, 6)):
        x = draw(*shape)
        got = _orthogonal(0.01 * x)
        assert relative_difference(got, torch.stack([orthogonal(one) for one in x])) <= 1e-7
        values = torch.linalg.svdvals(got)
        assert ((values > 0.6) & (values < 1.3)).all()


@pytest.mark.parametrize(
    "options",
    [{"chunk": 0}, {"rate": 0.0}, {"rank": 0}, {"chunk": 8, "window": 7}],
)
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(CabError, match="must be"):
        build("lact", "cs", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_survives_a_long_sequence(dtype):
    attention = build("lact", "cs", dim=8, heads=2, dtype=dtype)
    x = draw(1, 4099, 8, dtype=dtype).requires_grad_()
    out = attention(x)
    out.backward(draw(*out.shape, dtype=dtype, seed="from above"))
    assert out.isfinite().all()
    assert all(leaf.grad.isfinite().all() for leaf in [x, *attention.parameters()])
