"""TTT-Linear against its inner loop, token by token, with gradients found by autograd."""

import pytest
import torch
import torch.nn.functional as F
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference


def inner_loop(attention, x, kept):
    """One row (N, D): the loss of each token is differentiated where its mini-batch began."""
    q, k, v = (part(x) for part in (attention.query, attention.key, attention.value))
    rates = torch.sigmoid(attention.rate(x)) * attention.config.rate / HEAD_WIDTH
    out = torch.zeros_like(x)
    for head in range(HEADS):
        cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        scale, shift = attention.scale[head, 0], attention.shift[head, 0]

        def model(token, weight, bias, scale=scale, shift=shift):
            inner = token @ weight + bias
            return token + F.layer_norm(inner, (HEAD_WIDTH,), scale, shift, 1e-6)

        weight, bias = attention.start[head, :-1], attention.start[head, -1]
        now = weight, bias
        for t in range(len(x)):
            place = t % attention.config.batch
            if place == 0:
                weight, bias = now
                sums = torch.zeros_like(weight), torch.zeros_like(bias)
            leaves = weight.detach().requires_grad_(), bias.detach().requires_grad_()
            with torch.enable_grad():
                error = model(k[t, cut], *leaves) - v[t, cut]
                slopes = torch.autograd.grad(error.square().sum() / 2, leaves)
            rate = rates[t, head] if kept[t] else 0.0
            sums = tuple(one + rate * slope for one, slope in zip(sums, slopes, strict=True))
            share = max(0.0, 1 / (place + 1) + attention.shares[place].item())
            now = weight - share * sums[0], bias - share * sums[1]
            out[t, cut] = model(q[t, cut], *now)
    return attention.output(attention.norm(out))


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 7, 33])
@pytest.mark.parametrize("options", [{}, {"batch": 5, "rate": 3.0}])
def test_ttt_is_its_inner_loop(length, options):
    attention, x = build("ttt", "cs", **options), draw(BATCH, length, DIM)
    for name, parameter in attention.named_parameters():
        if name in ("start", "shares", "scale", "shift"):
            parameter.add_(0.3 * draw(*parameter.shape, seed=name))
    padding = draw(BATCH, length, seed="holes") > 0.7
    for mask in (None, padding):
        got = attention(x, key_padding_mask=mask)
        for row in range(BATCH):
            kept = torch.ones(length, dtype=torch.bool) if mask is None else ~mask[row]
            here = x[row].masked_fill(~kept[:, None], 0.0)
            assert relative_difference(got[row], inner_loop(attention, here, kept)) <= 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_survives_a_long_sequence(dtype):
    attention = build("ttt", "cs", dim=8, heads=2, dtype=dtype)
    x = draw(1, 4099, 8, dtype=dtype).requires_grad_()
    out = attention(x)
    out.backward(draw(*out.shape, dtype=dtype, seed="from above"))
    assert out.isfinite().all()
    assert all(leaf.grad.isfinite().all() for leaf in [x, *attention.parameters()])
