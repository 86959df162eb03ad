"""Long-short attention against the paper's definition, query by query."""

import pytest
import torch
import torch.nn.functional as F
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference, right_padding

from cab.errors import CabError

OPTIONS = {"window": 6, "rank": 2, "segment": 4, "segment_rank": 3}


def summaries(attention, x, start, stop):
    """P^T K and P^T V with P = softmax over the positions start ... stop, heads side by side."""
    means = []
    for part in (attention.key, attention.value):
        out = torch.zeros(attention.rank, DIM, dtype=x.dtype)
        for head in range(HEADS):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            ranks = slice(head * attention.rank, (head + 1) * attention.rank)
            scores = attention.summary(x[start:stop])[:, ranks]
            out[:, cut] = scores.softmax(dim=0).T @ part(x[start:stop])[:, cut]
        means.append(attention.far_norm(out))
    return means


def by_query(attention, x):
    """One row: for each query gather the keys that it sees, norm them, one softmax."""
    length, window, segment = x.shape[0], 6, 4
    k, v = attention.local_norm(attention.key(x)), attention.local_norm(attention.value(x))
    q, out = attention.query(x), torch.zeros_like(x)
    for t in range(length):
        if attention.pattern.causal:
            near = range(max(0, t - window + 1), t + 1)
            far = [
                summaries(attention, x, s, s + segment) for s in range(0, t + 1 - segment, segment)
            ]
            far = [pair for number, pair in enumerate(far) if number < t // segment]
        else:
            block = t // min(window, length) * min(window, length)
            near = range(max(0, block - 3), min(length, block + min(window, length) + 3))
            far = [summaries(attention, x, 0, length)]
        keys = torch.cat([k[list(near)], *(pair[0] for pair in far)])
        values = torch.cat([v[list(near)], *(pair[1] for pair in far)])
        for head in range(HEADS):
            cut = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
            weights = (keys[:, cut] @ q[t, cut] / HEAD_WIDTH**0.5).softmax(dim=0)
            out[t, cut] = weights @ values[:, cut]
    return attention.output(out)


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 19])
def test_longshort_is_its_definition(pattern, length):
    attention = build("longshort", pattern, **OPTIONS).requires_grad_(False)
    x = draw(length, DIM)
    assert relative_difference(attention(x[None])[0], by_query(attention, x)) <= 1e-11


def test_where_everything_is_near_and_no_summary_counts_it_is_softmax_over_normed_keys():
    attention = build("longshort", "cs", window=20, segment=20).requires_grad_(False)
    x, width = draw(BATCH, 20, DIM), (HEADS, HEAD_WIDTH)
    k, v = (attention.local_norm(part(x)) for part in (attention.key, attention.value))
    q, k, v = (part.unflatten(-1, width).transpose(1, 2) for part in (attention.query(x), k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
    assert relative_difference(attention(x), attention.output(mixed)) <= 1e-12


@pytest.mark.parametrize("options", [OPTIONS, {"window": 5, "segment": 5}, {"window": 9}])
def test_every_window_and_segment_decodes(options):
    options = {"segment": 2, **options}
    attention, x = build("longshort", "cs", **options), draw(BATCH, 23, DIM)
    state, outputs = attention.initial_state(BATCH), []
    for t in range(23):
        y, state = attention.step(x[:, t], state)
        outputs.append(y)
    assert relative_difference(torch.stack(outputs, dim=1), attention(x)) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_a_segment_of_padding_alone_is_not_summarised(pattern):
    attention = build("longshort", pattern, **OPTIONS)
    x, padding = draw(2, 17, DIM), right_padding([17, 17], 17)
    padding[0, 4:8] = True
    out = attention(x.masked_fill(padding[:, :, None], float("nan")), key_padding_mask=padding)
    for fill in (0.0, 1e6):
        other = x.masked_fill(padding[:, :, None], fill)
        assert attention(other, key_padding_mask=padding).equal(out)


def test_tokens_that_neither_window_nor_summary_would_show_are_refused():
    with pytest.raises(CabError, match="unseen"):
        build("longshort", "cs", window=4, segment=5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_survives_a_long_sequence_without_causality(dtype):
    attention = build("longshort", "ns", dim=4, heads=1, dtype=dtype)
    x = draw(1, 65_537, 4, dtype=dtype).requires_grad_()
    attention(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_survives_a_long_causal_sequence(dtype):
    # One summary per 2,048 tokens keeps the N^2 / segment scores small enough for a test.
    attention = build("longshort", "cs", dim=2, heads=1, window=2048, segment=2048, dtype=dtype)
    with torch.no_grad():
        out = attention(draw(1, 16_385, 2, dtype=dtype))
    assert out.isfinite().all()
