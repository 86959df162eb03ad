"""BAM is a weighted sum of attention layers, one for each expert."""

import pytest
import torch
from support import BATCH, CONTEXT, build, context_for, draw, relative_difference, right_padding

MANY = {"dim": 25, "heads": 5}
PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
GROUPS = {1: [[0, 1, 2, 3, 4]], 2: [[0, 1, 2], [3, 4]], 3: [[0, 1], [2, 3], [4]]}


def expert(attention, heads, x, context, padding):
    """Softmax attention with the weights of one expert alone."""
    softmax = build("softmax", attention.pattern, **MANY)
    state = {name: torch.zeros_like(w) for name, w in softmax.state_dict().items()}
    for place, head in enumerate(heads):
        own = slice(5 * head, 5 * head + 5)
        there = slice(5 * place, 5 * place + 5) if attention.config.shared else own
        state["query.weight"][own] = attention.query.weight[own]
        state["key.weight"][own] = attention.key.weight[there]
        state["value.weight"][own] = attention.value.weight[there]
        state["output.weight"][:, own] = attention.output.weight[:, own]
    softmax.load_state_dict(state)
    return softmax(x, context, key_padding_mask=padding)


@PATTERNS
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("experts", [2, 3])
@torch.no_grad()
def test_it_is_the_weighted_sum_of_its_experts(pattern, shared, experts):
    attention = build("bam", pattern, experts=experts, shared=shared, **MANY)
    x, context = draw(BATCH, 9, 25), context_for(attention, BATCH)
    keys = 9 if context is None else CONTEXT
    padding = right_padding([keys, 7, 2, 1], keys)
    weights = (x @ attention.router.weight.T).softmax(dim=-1)
    expected = sum(
        weights[..., e, None] * expert(attention, heads, x, context, padding)
        for e, heads in enumerate(GROUPS[experts])
    )
    got = attention(x, context, key_padding_mask=padding)
    seen = ~padding if context is None else torch.ones(BATCH, 9, dtype=torch.bool)
    assert relative_difference(got[seen], expected[seen]) <= 1e-12


@PATTERNS
@torch.no_grad()
def test_one_expert_is_softmax_attention(pattern):
    attention, softmax = build("bam", pattern, experts=1), build("softmax", pattern)
    softmax.load_state_dict(attention.state_dict())
    x, context = draw(2, 9, 15), context_for(attention, 2)
    assert relative_difference(attention(x, context), softmax(x, context)) <= 1e-12


def test_shared_keys_make_the_state_smaller():
    attention = build("bam", "cs", shared=True, **MANY)
    _, state = attention.step(draw(2, 25), attention.initial_state(2))
    assert state.k.shape == (2, 3, 1, 5)
