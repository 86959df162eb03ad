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
    for share, sizes in ((1, MANY), (2, {"dim": 5, "heads": 1})):
        attention = build("gqa", pattern, heads_per_group=share, **sizes)
        softmax = build("softmax", pattern, **sizes)
        softmax.load_state_dict(attention.state_dict())
        assert_equal(attention, softmax)


@PATTERNS
def test_one_group_is_multi_query_attention(pattern):
    for share, sizes in ((6, MANY), (9, MANY), (2, {"dim": 10, "heads": 2})):
        attention, mqa = (
            build("gqa", pattern, heads_per_group=share, **sizes),
            build("mqa", pattern, **sizes),
        )
        mqa.load_state_dict(attention.state_dict())
        assert_equal(attention, mqa)


@PATTERNS
@pytest.mark.parametrize(
    ("share", "group_of_head"),
    [(3, [0, 0, 0, 1, 1, 1]), (2, [0, 0, 1, 1, 2, 2]), (4, [0, 0, 0, 1, 1, 1])],
)
def test_neighbouring_heads_share_keys_and_values(pattern, share, group_of_head):
    attention = build("gqa", pattern, heads_per_group=share, **MANY)
    assert_equal(attention, softmax_with_groups(attention, group_of_head))


@pytest.mark.parametrize(("share", "groups"), [(6, 1), (3, 2), (4, 2), (1, 6)])
def test_the_state_holds_the_groups_alone_and_steps_to_the_same_answers(share, groups):
    attention, x = build("gqa", "cs", heads_per_group=share, **MANY), draw(BATCH, 9, 30)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(9):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-12
    assert state.k.shape == state.v.shape == (BATCH, groups, 9, 5)


def test_groups_of_uneven_sizes_share_in_order():
    attention = build("gqa", "ns", heads_per_group=2, dim=25, heads=5)
    assert_equal(attention, softmax_with_groups(attention, [0, 0, 1, 1, 2]))


def test_groups_of_no_head_are_refused():
    with pytest.raises(Exception, match="heads_per_group must be at least 1"):
        build("gqa", "ns", heads_per_group=0)
