"""NSA against its three attentions written out, and against the naive operators of fla."""

import naive_operators as naive
import pytest
import torch
import torch.nn.functional as F
from selected_oracles import WIDTH, answered, attend, drawn, heads_of
from support import BATCH, DIM, HEADS, build, draw, relative_difference


def summaries(network, x, blocks, present):
    """The mean of the present tokens of each block, and what the network adds."""
    out = []
    for places in blocks:
        inside = [s for s in places if present[s]]
        if not inside:
            out.append(torch.zeros_like(x[0]))
            continue
        mean = torch.stack([x[s] for s in inside]).mean(dim=0)
        hidden = [
            F.silu(network.first.weight @ (x[s] + network.place[s - places[0]])) for s in inside
        ]
        out.append(mean + network.last.weight @ torch.stack(hidden).mean(dim=0))
    return out


def written_out(attention, x, padding):
    """One query after the other, by the paper's equations 5 to 12."""
    block, window = attention.config.block, attention.config.window
    x = x.masked_fill(padding[..., None], 0.0)
    length = x.shape[1]
    q = heads_of(x @ attention.query.weight.T)
    keys = (x @ attention.key.weight.T).chunk(3, dim=-1)
    values = (x @ attention.value.weight.T).chunk(3, dim=-1)
    gate = heads_of(torch.sigmoid(x @ attention.gate.weight.T + attention.gate.bias))
    out = torch.zeros(BATCH, HEADS, length, WIDTH).double()
    blocks = [range(a, min(a + block, length)) for a in range(0, length, block)]
    for row in range(BATCH):
        present = ~padding[row]
        k_all = summaries(attention.key_summary, keys[0][row], blocks, present)
        v_all = summaries(attention.value_summary, values[0][row], blocks, present)
        filled = [b for b, places in enumerate(blocks) if present[list(places)].any()]
        for t in range(length):
            complete = [b for b in filled if (b + 1) * block <= t + 1]
            weight = dict.fromkeys(filled, 0.0)
            for head in range(HEADS):
                powers = {b: torch.exp(q[row, head, t] @ k_all[b] / WIDTH**0.5) for b in complete}
                for b in complete:
                    weight[b] += powers[b] / sum(powers.values())
            own = t // block
            fixed = {b for b in (0, own - 1) if b < own and b in filled}
            others = [b for b in filled if b < own and b not in fixed]
            count = attention.config.top_k - 1 - len(fixed)
            best = sorted(others, key=lambda b: -weight[b])[:count]
            chosen = {own, *fixed, *best}
            read = [s for b in sorted(chosen) for s in blocks[b] if s <= t and present[s]]
            near = [s for s in range(max(0, t - window + 1), t + 1) if present[s]]
            for head in range(HEADS):
                query = q[row, head, t]
                parts = (
                    attend(query, [k_all[b] for b in complete], [v_all[b] for b in complete]),
                    attend(query, keys[1][row, read], values[1][row, read]),
                    attend(query, keys[2][row, near], values[2][row, near]),
                )
                out[row, head, t] = sum(
                    part * gate[row, head, t, number] for number, part in enumerate(parts)
                )
    return out.transpose(1, 2).flatten(-2) @ attention.output.weight.T


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("length", "options"),
    [(1, {}), (39, {}), (22, {"block": 3, "top_k": 3, "window": 2})],
)
def test_nsa_is_its_three_attentions(length, options, padded):
    attention, x = drawn("nsa", build, **options), draw(BATCH, length, DIM)
    out, padding = answered(attention, x, padded)
    expected = written_out(attention, x, padding)
    # To a padded query, a vector of zeros, all summaries weigh the same.
    out, expected = (one.masked_fill(padding[..., None], 0.0) for one in (out, expected))
    assert relative_difference(out, expected) <= 1e-10


@naive.needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_two_of_its_attentions_are_the_naive_operators():
    attention, length, block = drawn("nsa", build), 32, 4
    x, q = draw(BATCH, length, DIM), {}
    kept = attention.keep(x)
    nothing = torch.zeros(BATCH, 1, length // block, block, dtype=torch.bool)
    summary = {
        "k": attention.key_summary(kept[0].unflatten(2, (-1, block)), nothing),
        "v": attention.value_summary(kept[3].unflatten(2, (-1, block)), nothing),
    }
    q = heads_of(x @ attention.query.weight.T)
    turned = [part.transpose(1, 2) for part in (q, summary["k"], summary["v"])]
    scale = {"block_size": block, "scale": WIDTH**-0.5}
    compressed = naive.call("nsa.naive", "naive_nsa_compression", *turned, **scale)
    from fla.ops.nsa.naive import naive_nsa_topk

    choice = naive_nsa_topk(*turned[:2], attention.config.top_k, **scale)
    turned = [part.transpose(1, 2) for part in (q, kept[1], kept[4])]
    scale = {"block_size": block, "scale": WIDTH**-0.5}
    selected = naive.call("nsa.naive", "naive_nsa_selection", *turned, choice, **scale)
    for number, wanted in enumerate((compressed, selected)):
        # Open one gate and shut the others.
        attention.gate.weight.zero_()
        attention.gate.bias.fill_(-1e4)
        attention.gate.bias.view(HEADS, 3)[:, number] = 1e4
        expected = wanted.flatten(-2) @ attention.output.weight.T
        assert relative_difference(attention(x), expected) <= 1e-10
