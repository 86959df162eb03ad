"""SEA against its equations: estimate, choice of columns and blend, query by query."""

import pytest
import torch
from support import DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])


def position(attention, s, length):
    if attention.pattern == "cs":
        return attention.positions[s]
    along = s / max(1, length - 1) * (HEAD_WIDTH - 1)
    tents = [max(0.0, 1 - abs(along - j)) for j in range(HEAD_WIDTH)]
    return torch.tensor(tents, dtype=torch.float64)


def convolve(attention, rows, number):
    """One 3 x 3 convolution over rows (H, N, K), in CS over the row and the two before it."""
    weight, bias = attention.refine[number].weight, attention.refine[number].bias
    heads, length, width = rows.shape
    above = 2 if attention.pattern == "cs" else 1
    out = bias[:, None, None].expand(heads, length, width).clone()
    for t in range(length):
        for m in range(width):
            for i in range(3):
                for j in range(3):
                    row, column = t + i - above, m + j - 1
                    if 0 <= row < length and 0 <= column < width:
                        out[:, t, m] += weight[:, :, i, j] @ rows[:, row, column]
    return out


def by_loops(attention, x):
    """One row (N, D) without padding."""
    settings, length = attention.config, len(x)
    causal, width = attention.pattern == "cs", settings.width
    parts = (attention.query, attention.key, attention.value)
    q, k, v = (part(x).reshape(length, HEADS, HEAD_WIDTH).transpose(0, 1) for part in parts)

    def features(y):
        return (attention.frequencies @ y / HEAD_WIDTH**0.5).relu() + 0.001

    z = torch.zeros(HEADS, length, HEAD_WIDTH, dtype=x.dtype)
    for h in range(HEADS):
        for t in range(length):
            total, context = 0.0, 0.0
            for s in range(t + 1 if causal else length):
                weight = features(q[h, t]) @ features(k[h, s])
                total = total + weight
                context = context + weight * torch.cat((position(attention, s, length), v[h, s]))
            z[h, t] = attention.encode(torch.cat((context / total, v[h, t])))
    rows = convolve(attention, convolve(attention, attention.decode(z), 0).relu(), 1)

    maps = []
    for t in range(length):
        n = t + 1 if causal else length
        tokens = [[s for s in range(n) if s * width // n == m] for m in range(width)]
        taken = torch.tensor([bool(column) for column in tokens])
        maps.append((tokens, rows[:, t].masked_fill(~taken, -torch.inf).softmax(dim=-1)))
    mean_map = sum(shares for _, shares in maps) / length
    out = torch.zeros(length, HEADS, HEAD_WIDTH, dtype=x.dtype)
    for t, (tokens, shares) in enumerate(maps):
        n = t + 1 if causal else length
        columns = max(1, min(settings.top_k, width, int(settings.top_k * width / n + 0.5)))
        for h in range(HEADS):
            best = shares[h].argsort(descending=True)[:columns].tolist()
            chosen = [s for m in best for s in tokens[m]]
            weights = (k[h, chosen] @ q[h, t] / HEAD_WIDTH**0.5).softmax(dim=0)
            if causal:
                average = v[h, :n].mean(dim=0)
            else:
                average = sum(
                    mean_map[h, m] * v[h, column].mean(dim=0)
                    for m, column in enumerate(tokens)
                    if column
                )
            scale, share = attention.scales(z[h, t]).sigmoid()
            out[t, h] = share * scale * (weights @ v[h, chosen]) + (1 - share) * average
    return attention.output(out.reshape(length, DIM))


def enlarge(attention):
    """Make the estimates of columns differ."""
    for layer in (*attention.refine, attention.decode):
        layer.weight.mul_(4)
    return attention


@PATTERNS
@pytest.mark.parametrize(
    ("length", "width", "top_k"), [(1, 4, 2), (9, 4, 3), (23, 7, 5), (6, 11, 2)]
)
@torch.no_grad()
def test_it_is_its_equations(pattern, length, width, top_k):
    attention = enlarge(build("sea", pattern, width=width, top_k=top_k, features=6, chunk=4))
    x, padding = draw(2, 23, DIM), torch.ones(2, 23, dtype=torch.bool)
    padding[0, :length] = False
    padding[1, torch.randperm(23, generator=torch.Generator().manual_seed(1))[:length]] = False
    hollow = x.masked_fill(padding[..., None], float("nan"))
    out = attention(hollow, key_padding_mask=padding)
    plain = attention(x[:1, :length])
    for row in range(2):
        kept = ~padding[row]
        expected = by_loops(attention, x[row, kept])
        assert relative_difference(out[row, kept], expected) <= 1e-11
    assert relative_difference(plain[0], out[0, :length]) <= 1e-11


@torch.no_grad()
def test_decoding_estimates_the_same_rows():
    attention = enlarge(build("sea", "cs", width=5, top_k=3, features=6, chunk=4))
    x = draw(2, 21, DIM)
    state, outs = attention.initial_state(2), []
    for t in range(21):
        out, state = attention.step(x[:, t], state)
        outs.append(out)
    assert relative_difference(torch.stack(outs, dim=1), attention(x)) <= 1e-11


def test_a_step_beyond_the_built_length_is_refused():
    attention = build("sea", "cs")
    x = draw(1, attention.max_length + 1, DIM)
    state = attention.initial_state(1)
    for t in range(attention.max_length):
        _, state = attention.step(x[:, t], state)
    with pytest.raises(ValueError, match="its state has read them"):
        attention.step(x[:, -1], state)


@PATTERNS
def test_the_auxiliary_loss_brings_the_estimate_to_the_weights(pattern):
    attention = build("sea", pattern, width=6, top_k=6).train()
    x = 3 * draw(2, 12, DIM)
    losses = []
    for _ in range(30):
        attention.zero_grad()
        attention(x)
        loss = attention.auxiliary_loss()
        loss.backward()
        assert attention.query.weight.grad.isfinite().all()
        losses.append(loss.item())
        with torch.no_grad():
            for layer in (attention.decode, *attention.encode, *attention.refine):
                for parameter in layer.parameters():
                    parameter -= parameter.grad
    assert 0 <= losses[-1] < 0.9 * losses[0]
