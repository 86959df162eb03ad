"""MSA and InfLLM-V2 read the blocks that their rules choose, and with all blocks are softmax."""

import pytest
import torch
from selected_oracles import WIDTH, answered, attend, divergences, drawn, heads_of
from support import BATCH, DIM, HEADS, build, draw, relative_difference


def projected(attention, x):
    return (
        heads_of(x @ part.weight.T) for part in (attention.query, attention.key, attention.value)
    )


def chosen_by_msa(attention, x, row, head, t, present):
    """The blocks that hold the best tokens by the index, and the query's own."""
    width, block = attention.config.index_width, attention.config.block
    query = heads_of(x @ attention.index_query.weight.T)[row, head, t]
    keys = (x @ attention.index_key.weight.T)[row]
    best = {}
    for s in present:
        if s // block < t // block:
            score = (query @ keys[s] / width**0.5).item()
            best[s // block] = max(best.get(s // block, -1e9), score)
    return sorted(best, key=lambda b: -best[b])[: attention.config.top_k - 1]


def chosen_by_infllm(attention, x, row, head, t, present):
    """The first block, near blocks, and those that the best pooled keys meet."""
    block, near = attention.config.block, attention.config.near
    half = block // 4  # pooled keys begin this far apart and are twice as long
    q, k, _ = projected(attention, x)
    pooled = {}
    for start in range(0, t + 1, half):
        inside = [s for s in range(start, start + 2 * half) if s in present]
        if start + 2 * half <= t + 1 and inside:
            pooled[start] = [k[row, h, inside].mean(dim=0) for h in range(HEADS)]
    weight = dict.fromkeys(pooled, 0.0)
    for h in range(HEADS):
        powers = {c: torch.exp(q[row, h, t] @ keys[h] / WIDTH**0.5) for c, keys in pooled.items()}
        for c, power in powers.items():
            weight[c] += (power / sum(powers.values())).item()
    own = t // block
    filled = sorted({s // block for s in present if s // block < own})
    score = {}
    for b in filled:
        meets = [weight[c] for c in pooled if c < (b + 1) * block and c + 2 * half > b * block]
        score[b] = max(meets, default=0.0)
        if b == 0 or own - b < near:
            score[b] += 100
    return sorted(filled, key=lambda b: -score[b])[: attention.config.top_k - 1]


RULES = {"msa": chosen_by_msa, "infllm-v2": chosen_by_infllm}


def written_out(name, attention, x, padding):
    x = x.masked_fill(padding[..., None], 0.0)
    q, k, v = projected(attention, x)
    block, out = attention.config.block, torch.zeros_like(q)
    for row in range(BATCH):
        for t in range(x.shape[1]):
            present = [s for s in range(t + 1) if not padding[row, s]]
            for head in range(HEADS):
                blocks = {t // block, *RULES[name](attention, x, row, head, t, present)}
                read = [s for s in present if s // block in blocks]
                out[row, head, t] = attend(q[row, head, t], k[row, head, read], v[row, head, read])
    return out.transpose(1, 2).flatten(-2) @ attention.output.weight.T


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("name", "length", "options"),
    [
        ("msa", 1, {}),
        ("msa", 31, {"block": 3, "top_k": 4}),
        ("infllm-v2", 1, {}),
        ("infllm-v2", 41, {"block": 4, "top_k": 4}),
        ("infllm-v2", 45, {"block": 8, "top_k": 2, "near": 1}),
    ],
)
def test_each_is_softmax_over_the_blocks_of_its_rule(name, length, options, padded):
    attention, x = drawn(name, build, **options), draw(BATCH, length, DIM)
    out, padding = answered(attention, x, padded)
    expected = written_out(name, attention, x, padding)
    out, expected = (one.masked_fill(padding[..., None], 0.0) for one in (out, expected))
    assert relative_difference(out, expected) <= 1e-10


@pytest.mark.parametrize("name", RULES)
def test_with_all_blocks_it_is_softmax(name):
    attention, x = build(name, "cs", block=4, top_k=9), draw(BATCH, 35, DIM)
    full = build("softmax", "cs")
    full.load_state_dict(attention.state_dict(), strict=False)
    assert relative_difference(attention(x), full(x)) <= 1e-12


def test_the_indexer_learns_and_teaches_nothing_else():
    attention, x = build("msa", "cs"), draw(2, 24, DIM)
    x.requires_grad_()
    attention.train()(x)
    attention.auxiliary_loss().backward()
    assert x.grad is None or not x.grad.any()
    for name, parameter in attention.named_parameters():
        assert (parameter.grad is not None) == name.startswith("index"), name
    with torch.no_grad():
        attention.query.weight.mul_(4)
    before, after = divergences(attention, x.detach())
    assert after < 0.7 * before


def test_every_fourth_query_from_the_last_on_teaches_the_indexer():
    attention, x = drawn("msa", build), draw(BATCH, 11, DIM)
    attention.train()(x)
    q, k, _ = projected(attention, x)
    queries = heads_of(x @ attention.index_query.weight.T)
    keys, terms = x @ attention.index_key.weight.T, []
    for row in range(BATCH):
        for head in range(HEADS):
            for t in (2, 6, 10):
                scores = k[row, head, : t + 1] @ q[row, head, t] / WIDTH**0.5
                index = keys[row, : t + 1] @ queries[row, head, t] / 8**0.5
                wanted, found = scores.softmax(dim=0), index.softmax(dim=0)
                terms.append((wanted * (wanted / found).log()).sum())
    expected = torch.stack(terms).mean().item()
    assert attention.auxiliary_loss().item() == pytest.approx(expected)
