"""Grouped-query attention with groups of unequal size, and with noise."""

import pytest
import torch
from support import build, context_for, draw, relative_difference, right_padding

from cab.variants.softmax._query_groups import heads_by_share

SIZES = {"dim": 30, "heads": 6, "heads_per_group": 2}


def published_counts(norms, heads):
    """The authors' loop for one example, on plain numbers."""
    low, high = min(norms), max(norms)
    scaled = [(n - low) / (high - low) for n in norms]
    counts = [round(s / sum(scaled) * heads) for s in scaled]
    while sum(counts) > heads:
        counts[counts.index(max(counts))] -= 1
    while sum(counts) < heads:
        counts[counts.index(min(counts))] += 1
    return counts


def grouped(attention, counts, x, context, padding):
    """Softmax attention in which head h has the keys and values of its group."""
    softmax = build("softmax", attention.pattern, dim=30, heads=6)
    groups = [g for g, count in enumerate(counts) for _ in range(count)]
    state = softmax.state_dict()
    for name in ("query", "output"):
        state[f"{name}.weight"] = getattr(attention, name).weight
    for name in ("key", "value"):
        weight = getattr(attention, name).weight.unflatten(0, (-1, 5))
        state[f"{name}.weight"] = weight[groups].flatten(0, 1)
    softmax.load_state_dict(state)
    return softmax(x, context, key_padding_mask=padding)


@pytest.mark.parametrize("pattern", ["ns", "nc"])
@torch.no_grad()
def test_heads_go_to_groups_by_the_norms_of_each_example(pattern):
    attention = build("kdgqa", pattern, **SIZES)
    x, context = draw(6, 9, 30), context_for(attention, 6, length=9)
    lengths, found = [9, 9, 9, 6, 2, 1], set()
    padding = right_padding(lengths, 9)
    out = attention(x, context, key_padding_mask=padding)
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        source = (x if context is None else context)[one, :length]
        keys = attention.key(source)[0].unflatten(-1, (3, 5))
        counts = published_counts(keys.square().sum(dim=(0, 2)).sqrt().tolist(), 6)
        found.add(tuple(counts))
        assert sum(counts) == 6
        queries = x[one] if pattern == "nc" else source
        expected = grouped(attention, counts, queries, None if context is None else source, None)
        assert relative_difference(out[one, : queries.shape[1]], expected) <= 1e-12
    assert len(found) > 1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("groups", [2, 3, 5, 8])
def test_counts_are_those_of_the_published_loop(groups, seed):
    norms = draw(groups, seed=seed).abs()
    counts = torch.bincount(
        heads_by_share(norms - norms.min(), 8, smallest_first=True), minlength=groups
    )
    assert counts.tolist() == published_counts(norms.tolist(), 8)


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_groups_are_resized_by_moving_averages_of_norms(pattern):
    attention = build("dgqa", pattern, window=2, momentum=0.75, **SIZES).train()
    x, context = draw(4, 9, 30), context_for(attention, 4)
    source = x if context is None else context
    with torch.no_grad():
        attention.key.weight[:5] *= 3.0
        norms = attention.key(source).unflatten(-1, (3, 5)).square().sum(dim=(1, 3)).sqrt()
        expected = grouped(attention, [2, 2, 2], x, context, None)
        assert relative_difference(attention(x, context), expected) <= 1e-12
        attention.after_step()
        attention(x, context)
        attention.after_step()
        average = 0.75 * norms.mean(dim=0) + 0.25
        counts = (6 * average / average.sum()).round().long()
        assert counts.sum() == 6
        assert counts[0] > 2
        assert relative_difference(attention.average, average) <= 1e-6
        expected = grouped(attention, counts.tolist(), x, context, None)
        assert relative_difference(attention.eval()(x, context), expected) <= 1e-12


@torch.no_grad()
def test_evaluation_does_not_resize_groups():
    attention = build("dgqa", "cs", window=1, **SIZES)
    attention.key.weight[:5] *= 100.0
    attention(draw(4, 9, 30))
    attention.after_step()
    assert attention.group_of_head.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("pattern", ["ns", "nc"])
@torch.no_grad()
def test_noise_has_the_statistics_of_each_head(pattern):
    attention, gqa = build("pgqa", pattern, **SIZES), build("gqa", pattern, **SIZES)
    gqa.load_state_dict(attention.state_dict())
    for one in (attention, gqa):
        one.output.weight.copy_(torch.eye(30))
    x, context = draw(2, 600, 30), context_for(attention, 2)
    exact = gqa(x, context)
    assert attention(x, context).equal(exact)
    attention.train()
    noise = (exact - attention(x, context)).unflatten(-1, (6, 5))
    heads = exact.unflatten(-1, (6, 5))
    for row in range(2):
        for head in range(6):
            got, wanted = noise[row, :, head], heads[row, :, head]
            assert abs(got.mean() - wanted.mean()) < 0.1 * wanted.std()
            assert abs(got.std() / wanted.std() - 1) < 0.05
            spread = (got - wanted.mean()).abs() / wanted.std()
            assert spread.max() < 3**0.5 + 0.01  # uniform
    assert not attention(x, context).equal(attention(x, context))


@torch.no_grad()
def test_padded_queries_do_not_count_in_the_noise():
    attention, x = build("pgqa", "ns", **SIZES).train(), draw(1, 9, 30)
    padding = right_padding([5], 9)
    outs = []
    for fill in (0.0, 1e3):
        torch.manual_seed(0)
        outs.append(attention(x.masked_fill(padding[..., None], fill), key_padding_mask=padding))
    assert relative_difference(outs[0][:, :5], outs[1][:, :5]) <= 1e-12
