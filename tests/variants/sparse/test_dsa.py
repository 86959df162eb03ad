"""DSA reads the tokens that its indexer ranks highest, and the indexer learns to rank them."""

import naive_operators as naive
import pytest
import torch
from selected_oracles import WIDTH, answered, attend, divergences, drawn, heads_of, holes
from sparse_oracles import build_sparse
from support import BATCH, DIM, HEADS, build, draw, relative_difference


def index_scores(attention, x):
    """I (B, N, N), one pair after the other."""
    heads, width = attention.config.index_heads, attention.config.index_width
    queries = heads_of(x @ attention.index_query.weight.T, heads)
    keys, weights = x @ attention.index_key.weight.T, x @ attention.index_weight.weight.T
    scores = torch.zeros(x.shape[0], x.shape[1], x.shape[1]).double()
    for head in range(heads):
        products = torch.einsum("bte,bse->bts", queries[:, head], keys).clamp(min=0)
        scores += weights[:, :, head, None] * products
    return scores / (heads * width) ** 0.5


def written_out(attention, x, padding):
    x = x.masked_fill(padding[..., None], 0.0)
    q, k, v = (
        heads_of(x @ part.weight.T) for part in (attention.query, attention.key, attention.value)
    )
    index, out = index_scores(attention, x), torch.zeros(BATCH, HEADS, x.shape[1], WIDTH).double()
    for row in range(BATCH):
        for t in range(x.shape[1]):
            seen = [s for s in range(t, -1, -1) if not padding[row, s]]  # the latest first
            best = sorted(seen, key=lambda s: -index[row, t, s])[: attention.config.keep]
            for head in range(HEADS):
                out[row, head, t] = attend(q[row, head, t], k[row, head, best], v[row, head, best])
    return out.transpose(1, 2).flatten(-2) @ attention.output.weight.T


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("length", "keep"), [(1, 16), (37, 5)])
def test_dsa_is_softmax_over_the_best_of_its_indexer(length, keep, padded):
    attention, x = drawn("dsa", build, keep=keep), draw(BATCH, length, DIM)
    out, padding = answered(attention, x, padded)
    assert relative_difference(out, written_out(attention, x, padding)) <= 1e-10


@naive.needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
def test_it_chooses_what_the_naive_operator_chooses():
    from fla.ops.dsa.naive import naive_dsa_indexer

    attention, x = drawn("dsa", build, index_heads=8, index_width=3), draw(BATCH, 30, DIM)
    parts = (
        heads_of(x @ attention.index_query.weight.T, 8).transpose(1, 2),
        x @ attention.index_key.weight.T,
    )
    weights = x @ attention.index_weight.weight.T
    chosen = naive_dsa_indexer(*parts, weights, topk=16, activation="relu")
    index = attention.index(x, attention.index_key(x)[:, None])[:, 0]
    later = torch.ones(30, 30).bool().triu(1)
    own = index.masked_fill(later, -torch.inf).topk(16).indices
    for t in range(30):
        seen = min(t + 1, 16)
        for row in range(BATCH):
            assert set(chosen[row, t].tolist()) - {-1} == set(own[row, t, :seen].tolist())


def test_of_equal_scores_the_latest_are_read():
    attention, x = build("dsa", "cs", keep=3), draw(BATCH, 20, DIM)
    with torch.no_grad():
        attention.index_weight.weight.zero_()
    window = build_sparse("window", "cs", window=3)
    window.load_state_dict(attention.state_dict(), strict=False)
    assert relative_difference(attention(x), window(x)) <= 1e-12


def test_the_indexer_learns_and_teaches_nothing_else():
    attention, x = build("dsa", "cs", index_heads=4), draw(2, 24, DIM)
    x.requires_grad_()
    attention.train()(x)
    attention.auxiliary_loss().backward()
    assert x.grad is None or not x.grad.any()
    for name, parameter in attention.named_parameters():
        assert (parameter.grad is not None) == name.startswith("index"), name
    x = x.detach()
    with torch.no_grad():  # scores that are far from even
        attention.query.weight.mul_(4)
    before, after = divergences(attention, x)
    assert after < 0.7 * before
    assert attention.eval().auxiliary_loss() is None


def test_a_trained_indexer_finds_more_of_the_weight():
    attention, x = build("dsa", "cs", keep=4, index_heads=4), draw(2, 24, DIM)
    with torch.no_grad():
        attention.query.weight.mul_(4)
    full = build("softmax", "cs")
    full.load_state_dict(attention.state_dict(), strict=False)
    errors = [relative_difference(attention(x), full(x))]
    divergences(attention, x)
    errors.append(relative_difference(attention.eval()(x), full(x)))
    assert errors[1] < errors[0]


def test_the_loss_is_the_mean_divergence():
    attention, x = drawn("dsa", build), draw(BATCH, 11, DIM)
    padding = holes(11)
    attention.train()(x, key_padding_mask=padding)
    x = x.masked_fill(padding[..., None], 0.0)
    q, k = (heads_of(x @ part.weight.T) for part in (attention.query, attention.key))
    hidden = torch.ones(11, 11).bool().triu(1) | padding[:, None]
    index, terms = index_scores(attention, x), []
    for row in range(BATCH):
        for t in (~padding[row]).nonzero()[:, 0].tolist():
            seen = ~hidden[row, t]
            wanted = [
                torch.softmax(k[row, head, seen] @ q[row, head, t] / WIDTH**0.5, dim=0)
                for head in range(HEADS)
            ]
            wanted = torch.stack(wanted).mean(dim=0)
            found = torch.softmax(index[row, t, seen], dim=0)
            terms.append((wanted * (wanted / found).log()).sum())
    expected = torch.stack(terms).mean()
    assert attention.auxiliary_loss().item() == pytest.approx(expected.item())


def test_with_as_many_keys_as_tokens_it_is_softmax():
    attention, x = build("dsa", "cs", keep=20), draw(BATCH, 20, DIM)
    full = build("softmax", "cs")
    full.load_state_dict(attention.state_dict(), strict=False)
    assert relative_difference(attention(x), full(x)) <= 1e-12
