"""Tokens sorted by label stand in whole chunks, and softmax in parts is softmax."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import draw

from cab.variants.sparse._by_label import (
    attend_to_part,
    from_slots,
    join_parts,
    see,
    sort_into_groups,
    to_slots,
)


@settings(max_examples=60)
@given(
    data=st.data(), chunk=st.integers(1, 6), groups=st.integers(1, 7), length=st.integers(1, 20)
)
def test_each_group_fills_chunks_of_its_own_in_order(data, chunk, groups, length):
    drawn = st.lists(st.integers(0, groups - 1), min_size=length, max_size=length)
    labels = [data.draw(drawn), data.draw(drawn)]
    laid = sort_into_groups(torch.tensor(labels)[:, None], groups, chunk)
    for row, names in enumerate(labels):
        for group in set(names):
            chunks = (laid.group[row, 0] == group).nonzero().flatten()
            slots = laid.token[row, 0, chunks].flatten().tolist()
            members = [t for t in range(length) if names[t] == group]
            assert slots == members + [length] * (-len(members) % chunk)
        unused = laid.token[row, 0][laid.group[row, 0] == groups]
        assert (unused == length).all()
    x = draw(2, 1, length, 3)
    assert from_slots(to_slots(x, laid), laid).equal(x)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=20), chunk=st.integers(1, 5))
def test_homes_tell_who_stands_in_the_same_chunk_or_the_next(labels, chunk):
    home = sort_into_groups(torch.tensor(labels)[None, None], 4, chunk).home[0, 0]
    seen = see(home, home)
    for t, mine in enumerate(labels):
        for s, other in enumerate(labels):
            rank_t, rank_s = (labels[:i].count(labels[i]) // chunk for i in (t, s))
            assert seen[t, s] == (mine == other and rank_t - rank_s in (0, 1))


def test_parts_joined_are_the_softmax_over_all_keys():
    scores, values = 5 * draw(2, 3, 7, 12), draw(2, 3, 12, 5, seed="values")
    hidden = draw(2, 3, 7, 12, seed="hidden") > 0
    hidden[0, 0, 0], hidden[..., 4:9] = True, True  # a query that sees nothing, a part of nothing
    parts = [
        attend_to_part(scores[..., cut], hidden[..., cut], values[:, :, cut])
        for cut in (slice(0, 4), slice(4, 9), slice(9, 12))
    ]
    weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).nan_to_num()
    torch.testing.assert_close(join_parts(parts), weights @ values)
