"""Flow attention against its flows, token by token, and the conservation that names it."""

import pytest
import torch
from linear_oracles import assert_is
from long_sequences import assert_survives, both_dtypes
from support import draw


def features(x):
    return torch.sigmoid(x) + 1e-6


def limited(attention, competing):
    limit = attention.config.clamp
    return torch.where(competing > limit, limit, competing) if limit else competing


def flows(q, k):
    """Return (into each query, out of each key) before conservation."""
    products = features(q) @ features(k).T
    return products.sum(dim=1), products.sum(dim=0)


def mix(attention, q, k, v, head):
    into, out_of = flows(q, k)
    products, many_queries, many_keys = features(q) @ features(k).T, len(q), len(k)
    allotted = (products / out_of).sum(dim=1)
    competing = limited(attention, (products / into[:, None]).sum(dim=0))
    share = many_keys * competing.softmax(dim=0)
    mixed = products / into[:, None] @ (share[:, None] * v)
    return torch.sigmoid(allotted * many_queries / many_keys)[:, None] * mixed


def mix_causally(attention, q, k, v, head):
    queries, keys, rows = features(q), features(k), []
    count = torch.arange(1, len(q) + 1).double()
    into = torch.stack([queries[t] @ keys[: t + 1].sum(dim=0) for t in range(len(q))]) / count
    out_of = torch.stack([keys[t] @ queries[: t + 1].sum(dim=0) for t in range(len(q))]) / count
    competing = torch.stack(
        [keys[s] @ (queries / into[:, None])[: s + 1].mean(dim=0) for s in range(len(q))]
    )
    competing = limited(attention, competing)
    for t in range(len(q)):
        past = slice(0, t + 1)
        allotted = queries[t] @ (keys / out_of[:, None])[past].mean(dim=0)
        share = torch.stack(
            [(s + 1) * competing[: s + 1].softmax(dim=0)[-1] for s in range(t + 1)]
        )
        weights = keys[past] @ queries[t] / (into[t] * (t + 1))
        rows.append(torch.sigmoid(allotted) * (weights * share) @ v[past])
    return torch.stack(rows)


@pytest.mark.parametrize("clamp", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("pattern", ["ns", "nc"])
def test_flow_attention_is_its_flows_written_out(pattern, clamp):
    assert_is("flow", pattern, mix, clamp=clamp)


@pytest.mark.parametrize("clamp", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("chunk", [3, 64])
def test_causal_flows_are_those_so_far(chunk, clamp):
    assert_is("flow", "cs", mix_causally, lengths=(1, 2, 17), chunk=chunk, clamp=clamp)


def test_the_flow_into_queries_and_out_of_keys_is_conserved():
    q, k = draw(17, 5), draw(29, 5)
    into, out_of = flows(q, k)
    products = features(q) @ features(k).T
    # With its source fixed each query takes in 1, and with its sink fixed each key gives 1.
    torch.testing.assert_close((products / into[:, None]).sum(dim=1), torch.ones(17).double())
    torch.testing.assert_close((products / out_of).sum(dim=0), torch.ones(29).double())
    # What then flows out of all keys is what flows into all queries: one unit for each of them.
    torch.testing.assert_close((products / into[:, None]).sum().item(), 17.0)
    torch.testing.assert_close((products / out_of).sum().item(), 29.0)


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("flow", "cs", dtype)
