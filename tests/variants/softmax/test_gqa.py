"""Grouped-query attention lies between multi-query attention and softmax attention."""

import pytest
from support import BATCH, CONTEXT, build, context_for, draw, relative_difference, right_padding

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
MANY = {"dim": 30, "heads": 6}


def softmax_with_groups(attention, group_of_head):
    softmax = build("softmax", attention.pattern, dim=attention.dim, heads=attention.heads)
    state = attention.state_dict()
    for name in ("key.weight", "value.weight"):
        heads = state[name].unflatten(0, (-1, attention.head_width))
        state[name] = heads[group_of_head].flatten(0, 1)
    softmax.load_state_dict(state)
    return softmax


def assert_equal(one, other):
    x, context = draw(BATCH, 17, one.dim), context_for(one, BATCH)
    keys = 17 if context is None else CONTEXT
    for padding in (None, right_padding([keys, 8, 1, 3], keys)):
        got, expected = (a(x, context, key_padding_mask=padding) for a in (one, other))
        assert relative_difference(got, expected) <= 1e-12


@PATTERNS
def test_a_group_for_each_head_is_softmax(pattern):
    for groups in (6, 9):
        attention = build("gqa", pattern, groups=groups, **MANY)
        softmax = build("softmax", pattern, **MANY)
        softmax.load_state_dict(attention.state_dict())
        assert_equal(attention, softmax)


@PATTERNS
def test_one_group_is_multi_query_attention(pattern):
    attention, mqa = build("gqa", pattern, groups=1, **MANY), build("mqa", pattern, **MANY)
    mqa.load_state_dict(attention.state_dict())
    assert_equal(attention, mqa)


@PATTERNS
@pytest.mark.parametrize(
    ("groups", "group_of_head"),
    [(2, [0, 0, 0, 1, 1, 1]), (3, [0, 0, 1, 1, 2, 2]), (4, [0, 0, 1, 2, 2, 3])],
)
def test_neighbouring_heads_share_keys_and_values(pattern, groups, group_of_head):
    attention = build("gqa", pattern, groups=groups, **MANY)
    assert_equal(attention, softmax_with_groups(attention, group_of_head))


@pytest.mark.parametrize("groups", [1, 2, 4, 6])
def test_the_state_holds_the_groups_alone_and_steps_to_the_same_answers(groups):
    attention, x = build("gqa", "cs", groups=groups, **MANY), draw(BATCH, 9, 30)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    assert state.k.shape == state.v.shape == (BATCH, groups, 9, 5)


def test_no_groups_are_refused():
    with pytest.raises(Exception, match="groups must be at least 1"):
        build("gqa", "ns", groups=0)
