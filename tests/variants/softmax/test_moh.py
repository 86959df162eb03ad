"""Mixture-of-head attention weighs heads by a router that learns which ones a token needs."""

import pytest
import torch
from support import BATCH, CONTEXT, build, context_for, draw, relative_difference, right_padding

MANY = {"dim": 20, "heads": 4}
WIDTH = 5
PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])


def softmax_heads(attention, x, context, padding):
    """What each head adds to the output of softmax attention: (H, B, N, D)."""
    softmax = build("softmax", attention.pattern, **MANY)
    state = {name: w for name, w in attention.state_dict().items() if "routers" not in name}
    parts = []
    for head in range(4):
        alone = torch.zeros_like(state["output.weight"])
        cut = slice(head * WIDTH, (head + 1) * WIDTH)
        alone[:, cut] = state["output.weight"][:, cut]
        softmax.load_state_dict({**state, "output.weight": alone})
        parts.append(softmax(x, context, key_padding_mask=padding))
    return torch.stack(parts)


def gates_of_the_authors(attention, token, shared, chosen):
    """Weights of the four heads for one token (D,): the chosen gates are divided by their sum."""
    weights = {name: router.weight for name, router in attention.routers.items()}
    kinds = (weights["kind"] @ token).softmax(dim=0)
    first = (weights["shared"] @ token).softmax(dim=0) if shared > 1 else torch.ones(1)
    logits = weights["routed"] @ token
    best = logits.argsort(descending=True)[:chosen].tolist()
    routed = logits.exp()
    total = sum(routed[i] for i in best)
    routed = [p / total if i in best else 0.0 * p for i, p in enumerate(routed)]
    return torch.stack(
        [2 * shared * kinds[0] * p for p in first] + [2 * chosen * kinds[1] * p for p in routed]
    )


@PATTERNS
@pytest.mark.parametrize(
    ("shared", "active", "counts"), [(0.5, 0.75, (2, 1)), (0.25, 0.8, (1, 2))]
)
def test_heads_are_weighed_as_in_the_authors_code(pattern, shared, active, counts):
    attention = build("moh", pattern, shared=shared, active=active, **MANY)
    assert (attention.shared, attention.chosen) == counts
    x, context = draw(BATCH, 7, 20), context_for(attention, BATCH)
    keys = 7 if context is None else CONTEXT
    with torch.no_grad():
        for padding in (None, right_padding([keys, 4, 1, 2], keys)):
            heads = softmax_heads(attention, x, context, padding)
            gates = torch.stack(
                [
                    torch.stack([gates_of_the_authors(attention, token, *counts) for token in row])
                    for row in x
                ]
            )
            expected = torch.einsum("hbnd,bnh->bnd", heads, gates)
            got = attention(x, context, key_padding_mask=padding)
            if padding is not None and context is None:
                got, expected = got[~padding], expected[~padding]
            assert relative_difference(got, expected) <= 1e-12


@PATTERNS
def test_every_head_active_under_an_even_router_is_softmax(pattern):
    attention = build("moh", pattern, active=1.0, **MANY)
    with torch.no_grad():
        for router in attention.routers.values():
            router.weight.zero_()
    softmax = build("softmax", pattern, **MANY)
    state = attention.state_dict()
    softmax.load_state_dict({k: v for k, v in state.items() if "routers" not in k})
    x, context = draw(BATCH, 9, 20), context_for(attention, BATCH)
    assert relative_difference(attention(x, context), softmax(x, context)) <= 1e-12


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_any_number_of_heads_has_active_ones_and_no_router_that_nothing_trains(heads, shared):
    attention = build("moh", "cs", dim=24, heads=heads, shared=shared, active=max(shared, 0.75))
    x = draw(2, 9, 24)
    (attention.train()(x).square().sum() + attention.auxiliary_loss()).backward()
    assert all(p.grad is not None and p.grad.any() for p in attention.parameters())


def test_the_balance_loss_is_the_paper_s_and_leaves_padding_out():
    attention = build("moh", "ns", shared=0.25, active=0.5, balance=0.3, **MANY).train()
    x, padding = draw(3, 7, 20), right_padding([7, 4, 1], 7)
    attention(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    logits = attention.routers["routed"](x[~padding])
    probability = logits.softmax(dim=-1).mean(dim=0)
    share = torch.nn.functional.one_hot(logits.argmax(dim=-1), 3).double().mean(dim=0)
    torch.testing.assert_close(attention.auxiliary_loss(), 0.3 * (probability * share).sum())
    attention.eval()(x)
    assert attention.auxiliary_loss() is None


def test_the_balance_loss_evens_out_a_router_that_has_collapsed():
    attention = build("moh", "ns", shared=0.0, active=0.25, balance=1.0, **MANY).train()
    x = draw(8, 32, 20)
    x[..., 0] = 3.0  # a constant feature, by which the router prefers the first head for all
    with torch.no_grad():
        attention.routers["routed"].weight.mul_(0.1)[0, 0] += 0.5
    optimizer = torch.optim.Adam(attention.routers.parameters(), lr=0.02)

    def share():
        chosen = attention.routers["routed"](x).argmax(dim=-1).flatten()
        return torch.bincount(chosen, minlength=4).max().item() / chosen.numel()

    assert share() > 0.95
    for _ in range(100):
        optimizer.zero_grad()
        attention(x)
        attention.auxiliary_loss().backward()
        optimizer.step()
    assert share() < 0.5


def test_the_router_learns_which_head_a_token_needs():
    """Two kinds of token; each is answered rightly by another one of the routed heads."""
    attention = build("moh", "nc", shared=0.0, active=0.7, balance=0.01, dim=12, heads=3).train()
    assert attention.chosen == 2
    context = torch.zeros(1, 1, 12, dtype=torch.float64)
    context[..., 0] = 1.0
    with torch.no_grad():  # whatever is asked, head 0 says +1 in feature 0, the two others -1
        attention.value.weight.zero_()[[0, 4, 8], 0] = 1.0
        attention.output.weight.zero_()[0, 0] = 1.0
        attention.output.weight[0, [4, 8]] = -1.0
        attention.routers["routed"].weight.mul_(0.1)
    x = draw(1, 64, 12)
    wanted = 2 * x[..., 3].sign()  # a head that is sure of its routing weighs 2
    optimizer = torch.optim.Adam(attention.routers.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (attention(x, context)[..., 0] - wanted).square().mean()
        (loss + attention.auxiliary_loss()).backward()
        optimizer.step()
    chosen = attention.routers["routed"](x).argmax(dim=-1)
    assert ((chosen > 0) == (wanted < 0)).double().mean() > 0.95


def test_a_single_chosen_head_has_a_fixed_gate_as_in_the_authors_code():
    attention = build("moh", "ns", shared=0.0, active=0.25, balance=0.3, **MANY).train()
    x = draw(1, 9, 20)
    out = attention(x).square().sum()
    (router,) = attention.routers.values()
    (slope,) = torch.autograd.grad(out, router.weight, retain_graph=True)
    assert slope.abs().max() <= 1e-12
    (slope,) = torch.autograd.grad(attention.auxiliary_loss(), router.weight)
    assert slope.abs().max() > 1e-6


@pytest.mark.parametrize("pattern", ["cs", "cc"])
def test_stepping_routes_each_token_as_the_whole_sequence_does(pattern):
    attention = build("moh", pattern, **MANY)
    x, context = draw(BATCH, 9, 20), context_for(attention, BATCH)
    state, expected = attention.initial_state(BATCH, context), attention(x, context)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12


@pytest.mark.parametrize("options", [{"shared": 0.8}, {"active": 1.1}, {"shared": -0.1}])
def test_shares_that_cannot_be_are_refused(options):
    with pytest.raises(Exception, match="0 <= shared <= active <= 1"):
        build("moh", "ns", **options)
