"""HCA and CSA against their entries, windows and sinks written out."""

import pytest
import torch
from selected_oracles import WIDTH, answered, attend, divergences, drawn, heads_of, rms
from support import BATCH, DIM, HEADS, build, draw, relative_difference


def entries_of(compressor, x, padding):
    """The entry of each block, None for a block without tokens, one channel after the other."""
    block, twice = compressor.block, compressor.copies == 2
    content = (x @ compressor.content.weight.T).chunk(compressor.copies, dim=-1)
    score = (x @ compressor.score.weight.T).chunk(compressor.copies, dim=-1)
    entries = []
    for start in range(0, len(x), block):
        own = [s for s in range(start, min(start + block, len(x))) if not padding[s]]
        used = [(0, s, s - start + (block if twice else 0)) for s in own]
        if twice:
            early = [s for s in range(max(start - block, 0), start) if not padding[s]]
            used = [(1, s, s - start + block) for s in early] + used
        if not used or not own:
            entries.append(None)
            continue
        logits = torch.stack([score[c][s] + compressor.place[p] for c, s, p in used])
        powers = torch.exp(logits)
        values = torch.stack([content[c][s] for c, s, _ in used])
        entry = (powers * values).sum(dim=0) / powers.sum(dim=0)
        entries.append(rms(entry, compressor.norm.weight))
    return entries


def index_of(attention, x, entries):
    """I of each query and entry."""
    heads, width = attention.config.index_heads, attention.config.index_width
    queries = (x @ attention.index_query.weight.T).unflatten(-1, (heads, width))
    weights = x @ attention.index_weight.weight.T
    return {
        (t, i): sum(weights[t, h] * (queries[t, h] @ entry).clamp(min=0) for h in range(heads))
        for t in range(len(x))
        for i, entry in enumerate(entries)
        if entry is not None
    }


def written_out(attention, x, padding):
    x = x.masked_fill(padding[..., None], 0.0)
    config, length = attention.config, x.shape[1]
    out = torch.zeros(BATCH, HEADS, length, WIDTH).double()
    q = rms(heads_of(x @ attention.query.weight.T), attention.query_norm.weight)
    near_all = rms(x @ attention.entry.weight.T, attention.entry_norm.weight)
    for row in range(BATCH):
        entries = entries_of(attention.compressor, x[row], padding[row])
        if hasattr(config, "top_k"):
            narrow = entries_of(attention.index_compressor, x[row], padding[row])
            index = index_of(attention, x[row], narrow)
        for t in range(length):
            read = [
                i for i, entry in enumerate(entries)
                if entry is not None and (i + 1) * config.block <= t + 1
            ]  # fmt: skip
            if hasattr(config, "top_k"):
                best = sorted(read, key=lambda i: (-index[t, i].item(), -i))
                read = best[: config.top_k]
            near = [s for s in range(max(0, t - config.window + 1), t + 1) if not padding[row, s]]
            vectors = [near_all[row, s] for s in near] + [entries[i] for i in read]
            for head in range(HEADS):
                if not vectors:
                    continue
                scores = torch.stack(vectors) @ q[row, head, t] / WIDTH**0.5
                powers, sink = torch.exp(scores), torch.exp(attention.sink[head, 0, 0, 0])
                out[row, head, t] = powers @ torch.stack(vectors) / (powers.sum() + sink)
    return out.transpose(1, 2).flatten(-2) @ attention.output.weight.T


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("name", "length", "options"),
    [
        ("hca", 1, {}),
        ("hca", 39, {"block": 5, "window": 3}),
        ("csa", 1, {}),
        ("csa", 39, {"top_k": 3, "window": 5}),
        ("csa", 23, {"block": 3, "top_k": 2, "window": 30}),
    ],
)
def test_each_is_its_equation(name, length, options, padded):
    attention, x = drawn(name, build, **options), draw(BATCH, length, DIM)
    out, padding = answered(attention, x, padded)
    assert relative_difference(out, written_out(attention, x, padding)) <= 1e-10


def test_entries_of_one_token_without_a_sink_are_softmax_attention_to_all():
    """Blocks of one token, and a window of one: each earlier token is read as an entry."""
    attention, x = drawn("hca", build, block=1, window=1), draw(BATCH, 9, DIM)
    attention.sink.fill_(-1e4)
    q = rms(heads_of(x @ attention.query.weight.T), attention.query_norm.weight)
    entries = rms(x @ attention.compressor.content.weight.T, attention.compressor.norm.weight)
    own = rms(x @ attention.entry.weight.T, attention.entry_norm.weight)
    out = torch.zeros(BATCH, HEADS, 9, WIDTH).double()
    for row in range(BATCH):
        for head in range(HEADS):
            for t in range(9):
                vectors = [*entries[row, : t + 1], own[row, t]]
                out[row, head, t] = attend(q[row, head, t], vectors, vectors)
    expected = out.transpose(1, 2).flatten(-2) @ attention.output.weight.T
    assert relative_difference(attention(x), expected) <= 1e-12


def test_the_indexer_learns_and_teaches_nothing_else():
    attention, x = build("csa", "cs", index_heads=4), draw(2, 40, DIM)
    x.requires_grad_()
    attention.train()(x)
    attention.auxiliary_loss().backward()
    assert x.grad is None or not x.grad.any()
    for name, parameter in attention.named_parameters():
        assert (parameter.grad is not None) == name.startswith("index"), name
    with torch.no_grad():
        attention.query_norm.weight.mul_(4)
    before, after = divergences(attention, x.detach())
    assert after < 0.7 * before


@pytest.mark.parametrize("name", ["hca", "csa"])
def test_decoding_keeps_entries_a_window_and_an_unfinished_block(name):
    attention, x = drawn(name, build, block=4, window=6), draw(BATCH, 30, DIM)
    expected, state, done = attention(x), attention.initial_state(BATCH), []
    for part in x.split((1, 1, 5, 4, 8, 1, 10), dim=1):
        out, state = attention.prefill(part, state)
        done.append(out)
        tokens = sum(one.shape[1] for one in done)
        assert state[0].shape[2] == min(tokens, 5)
        for raw, entries in zip(state[1::2], state[2::2], strict=True):
            before = 4 if name == "csa" and tokens >= 4 else 0
            assert raw.shape[2] == tokens % 4 + before
            assert entries.shape[2] == tokens // 4
    assert relative_difference(torch.cat(done, dim=1), expected) <= 1e-12
