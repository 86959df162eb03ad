"""The window's heads against masked softmax, the others against the delta rule's recurrence."""

import pytest
import torch
import torch.nn.functional as F
from long_sequences import assert_survives, both_dtypes
from support import BATCH, build, draw, relative_difference


def written_out(attention, x, kept):
    """Rows (B, N, D), token by token."""
    batch, length, dim = x.shape
    width, near, parts = dim // attention.heads, attention.near, attention.parts
    projected = [part(x) for part in (attention.query, attention.key, attention.value)]
    taps, far = attention.convolution.weight[:, 0], near * width
    convolved = []
    for number, part in enumerate(projected):
        ours = taps[number * (dim - far) : (number + 1) * (dim - far)]
        sums = torch.zeros(batch, length, dim - far).to(x)
        for t in range(length):
            for back in range(min(taps.shape[1], t + 1)):
                sums[:, t] += ours[:, -1 - back] * part[:, t - back, far:]
        convolved.append(F.silu(sums))
    beta = torch.sigmoid(x @ attention.strength.weight.T)
    alpha = torch.exp(-torch.log1p(torch.exp(attention.decay(x))))
    gate, narrow, out = F.silu(attention.gate(x)), width // parts, torch.zeros_like(x)
    for row in range(batch):
        for head in range(near):
            cut = slice(head * width, (head + 1) * width)
            q, k, v = (part[row, :, cut] for part in projected)
            for t in range(length):
                first = max(0, t - attention.config.window + 1)
                seen = [s for s in range(first, t + 1) if kept[row, s]]
                if seen:
                    weights = (k[seen] @ q[t] / width**0.5).softmax(dim=0)
                    out[row, t, cut] = weights @ v[seen]
        for head in range(attention.far * parts):
            shared = slice(head // parts * width, (head // parts + 1) * width)
            ours = slice(head * narrow, (head + 1) * narrow)
            state = torch.zeros(width, narrow).to(x)
            for t in range(length):
                q, k = (
                    part[row, t, shared] / (part[row, t, shared].square().sum() + 1e-6).sqrt()
                    for part in convolved[:2]
                )
                if kept[row, t]:
                    rate = beta[row, t, head]
                    state = alpha[row, t, head] * (state - rate * torch.outer(k, k @ state))
                    state = state + rate * torch.outer(k, convolved[2][row, t, ours])
                mixed = q @ state
                mixed = mixed / (mixed.square().mean() + 1e-5).sqrt()
                out[row, t, far:][ours] = mixed * gate[row, t, ours]
    return attention.output(out)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 7, 40])
@pytest.mark.parametrize(("dim", "heads"), [(15, 3), (16, 2), (24, 8)])
def test_it_is_its_two_mechanisms(length, dim, heads):
    attention = build("window-deltanet", "cs", dim=dim, heads=heads, window=6)
    assert attention.near == max(1, heads // 4)
    x, padding = draw(BATCH, length, dim), draw(BATCH, length, seed="holes") > 0.7
    for mask in (None, padding):
        kept = torch.ones_like(padding) if mask is None else ~mask
        here = x.masked_fill(~kept[..., None], 0.0)
        got = attention(x, key_padding_mask=mask)
        assert relative_difference(got, written_out(attention, here, kept)) <= 1e-10


def test_one_head_is_refused():
    with pytest.raises(ValueError, match="2 heads"):
        build("window-deltanet", "cs", dim=8, heads=1)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("window-deltanet", "cs", dtype)
