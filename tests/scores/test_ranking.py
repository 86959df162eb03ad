"""Rank sets: worked out by hand, and the laws that they obey."""

from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_records import REGISTERED, TASKS, VARIANTS, board_of, made, shuffled

from cab.scores.board import Board, make_board
from cab.scores.estimates import mean_over_seeds
from cab.scores.rank_sets import RankSet, corrected_p_values, holm, rank_sets
from cab.scores.table import records_table
from cab.taxonomy import Pattern

ENTRIES = ("linear", "performer", "abc", "cosformer", "window")


def means(**values):
    return {name: mean_over_seeds("t", name, seeds) for name, seeds in values.items()}


def ranks_of(board: Board) -> dict[str, str]:
    return {row.entry: str(row.ranks) for row in board.rows if row.ranks}


def test_holm_by_hand():
    # Sorted: .01 x 4 = .04; .02 x 3 = .06; .03 x 2 = .06; .5 x 1 = .5. None is below one before.
    found = holm({"a": 0.02, "b": 0.5, "c": 0.01, "d": 0.03})
    assert found == pytest.approx({"c": 0.04, "a": 0.06, "d": 0.06, "b": 0.5})
    assert holm({"a": 0.9, "b": 0.8}) == pytest.approx({"b": 1.0, "a": 1.0})
    assert holm({}) == {}


def test_rank_sets_by_hand():
    # All standard deviations are .01, so each pair has a variance of .0002 / 3, whose root is
    # .008165, and 4 degrees of freedom.
    # a - b = .01: t = 1.22, p = .288; a - c = .20: t = 24.5, p = 1.6e-5;
    # b - c = .19: t = 23.3, p = 2.0e-5. Corrected: 4.9e-5, 4.9e-5 (2 x 2.0e-5 is less), .288.
    scores = means(a=(0.80, 0.81, 0.79), b=(0.79, 0.80, 0.78), c=(0.60, 0.61, 0.59))
    p = corrected_p_values(scores)
    assert p["a", "b"] == pytest.approx(0.288, abs=5e-4)
    assert p["a", "c"] == pytest.approx(3 * 1.649e-5, rel=1e-2)
    assert p["a", "c"] <= p["b", "c"] < 0.0001
    found = rank_sets(scores)
    assert found == {"a": RankSet(1, 2), "b": RankSet(1, 2), "c": RankSet(3, 3)}
    assert [str(found[name]) for name in "abc"] == ["1-2", "1-2", "3"]


def test_one_seed_that_takes_off_buys_no_certain_place():
    # gla's mean is far below deltanet's and above mamba2's; nobody is significantly better or
    # worse than it, and it does not draw the others up with it.
    scores = means(deltanet=(1.0, 0.99, 1.0), gla=(0.10, 0.07, 0.86), mamba2=(0.03, 0.08, 0.10))
    found = rank_sets(scores)
    assert found == {"deltanet": RankSet(1, 2), "gla": RankSet(1, 3), "mamba2": RankSet(2, 3)}


def test_without_scatter_equal_scores_share_ranks_and_unequal_ones_do_not():
    scores = means(a=(0.9,) * 3, b=(0.9,) * 3, c=(0.899,) * 3)
    assert rank_sets(scores) == {"a": RankSet(1, 2), "b": RankSet(1, 2), "c": RankSet(3, 3)}


def test_a_single_seed_cannot_be_ranked():
    with pytest.raises(ValueError, match="a or b has a single seed"):
        rank_sets(means(a=(0.5,), b=(0.4, 0.5)))


def spread(centre, width):
    return (centre - width, centre, centre + width)


LISTS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2)), min_size=2, max_size=6)


@given(LISTS)
def test_a_rank_set_holds_the_place_by_score_and_lies_within_the_list(entries):
    scores = means(**{f"e{i}": spread(*one) for i, one in enumerate(entries)})
    order = sorted(scores, key=lambda name: -scores[name].point)
    for name, found in rank_sets(scores).items():
        assert 1 <= found.best <= order.index(name) + 1 or scores[name].point in {
            scores[other].point for other in order if other != name
        }
        assert found.best <= found.worst <= len(scores)


@given(LISTS, st.floats(1, 5))
def test_more_scatter_of_all_entries_narrows_no_rank_set(entries, factor):
    """Welch's degrees of freedom stay, every p-value grows, and Holm rejects no more than before.

    Points are kept apart from their values, so that only the scatter changes.
    """
    assume(all(width > 1e-6 for _, width in entries))
    before = means(**{f"e{i}": spread(*one) for i, one in enumerate(entries)})
    after = means(**{f"e{i}": spread(m, factor * w) for i, (m, w) in enumerate(entries)})
    assume(all(abs(before[n].point - after[n].point) < 1e-12 for n in before))
    wide = rank_sets(after)
    margin = min(abs(p - 0.05) for p in corrected_p_values(before).values())
    assume(margin > 1e-9)
    for name, found in rank_sets(before).items():
        assert wide[name].best <= found.best
        assert wide[name].worst >= found.worst


@given(LISTS, st.floats(1, 5))
def test_more_scatter_of_the_widest_entry_never_improves_its_worst_rank(entries, factor):
    """A wide seed buys nothing: the worst rank of who scatters most never improves with it."""
    widest = max(width for _, width in entries)
    assume(widest > 1e-3)
    named = {f"e{i}": one for i, one in enumerate(entries)}
    wide = max(named, key=lambda name: named[name][1])
    before = means(**{name: spread(*one) for name, one in named.items()})
    centre, width = named[wide]
    after = before | means(**{wide: spread(centre, factor * width)})
    margin = min(abs(p - 0.05) for p in corrected_p_values(before).values())
    assume(margin > 1e-9)
    assert rank_sets(after)[wide].worst >= rank_sets(before)[wide].worst
    # Its score, by which the rows are ordered, is the same.
    assert after[wide].point == pytest.approx(before[wide].point)


def test_softmax_is_ranked_and_controls_and_reimplementations_are_not():
    records = [
        *made("softmax", "mqar", (0.99, 0.98, 1.0)),
        *made("sdpa", "mqar", (0.99, 0.98, 1.0)),
        *made("none", "mqar", (0.1, 0.1, 0.1)),
        *made("mean", "mqar", (0.1, 0.1, 0.11)),
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("performer", "mqar", (0.60, 0.61, 0.59)),
    ]
    board = board_of(records)
    assert ranks_of(board) == {"softmax": "1", "linear": "2", "performer": "3"}
    assert board.row("linear").ranks_in == {Pattern.CS: RankSet(2, 2)}
    assert [row.entry for row in board.rows] == [
        "sdpa", "softmax", "linear", "performer", "mean", "none",
    ]  # fmt: skip


def test_ranks_speak_of_the_mean_over_these_tasks():
    # On one of the two tasks the two are equally good: that widens the interval over tasks, and
    # takes nothing from the difference on these tasks.
    records = [
        *made("linear", "mqar", (0.80, 0.81, 0.82)),
        *made("linear", "selective-copy", (0.5, 0.5, 0.5)),
        *made("abc", "mqar", (0.30, 0.31, 0.32)),
        *made("abc", "selective-copy", (0.5, 0.5, 0.5)),
    ]
    board = make_board(records_table(records), "quick", two_of_cs(), VARIANTS)
    gap = board.row("linear").score.minus(board.row("abc").score)
    assert not gap.interval(tasks=True).leaves_out(0)
    assert ranks_of(board) == {"linear": "1", "abc": "2"}


def two_of_cs():
    from dataclasses import replace

    mqar = TASKS["mqar"]
    return {"mqar": mqar, "selective-copy": replace(
        mqar, name="selective-copy", version=REGISTERED["selective-copy"].version
    )}  # fmt: skip


def test_rows_of_different_coverage_are_not_ranked_together():
    records = [
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("linear", "mirror", (0.60, 0.61, 0.59)),
        *made("performer", "mqar", (0.85, 0.86, 0.84)),
        *made("abc", "mqar", (0.70, 0.71, 0.69)),
    ]
    board = board_of(records)
    assert ranks_of(board) == {"performer": "1", "abc": "2"}
    assert board.row("linear").unranked == "the only entry with complete results in these patterns"
    in_cs = {row.entry: str(row.ranks_in[Pattern.CS]) for row in board.rows}
    assert in_cs == {"performer": "1", "linear": "2", "abc": "3"}
    order = [row.entry for row in board.rows]
    assert order.index("linear") < order.index("performer")


def test_few_seeds_in_one_pattern_take_no_rank_in_another():
    records = [
        *made("linear", "mqar", (0.8, 0.81, 0.79)),
        *made("linear", "mirror", (0.6,)),
        *made("abc", "mqar", (0.7, 0.71, 0.69)),
    ]
    board = board_of(records)
    assert board.row("linear").ranks_in == {Pattern.CS: RankSet(1, 1)}
    assert board.row("abc").ranks_in == {Pattern.CS: RankSet(2, 2)}


def test_what_has_no_rank_has_the_reason():
    records = [
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("linear", "mirror", (0.60, 0.61)),
        *made("performer", "mqar", (0.85, 0.86, 0.84)),
        *made("abc", "mqar", (0.70, 0.71)),
        *made("gla", "mqar", (0.70,)),
        *made("cosformer", "mqar", (0.70, 0.71)),
        *made("cosformer", "mqar", (0.0,), first=2, status="diverged"),
        *made("sdpa", "mqar", (0.9, 0.9, 0.9)),
    ]
    rows = {row.entry: row for row in board_of(records).rows}
    assert {entry: row.unranked for entry, row in rows.items()} == {
        "linear": "trial: 2 seeds, a rank needs 3",
        "performer": "the only entry with complete results in these patterns",
        "abc": "trial: 2 seeds, a rank needs 3",
        "gla": "trial: 1 seed, a rank needs 3",
        "cosformer": "1 failed seed",
        "sdpa": "",
    }
    assert not [row for row in rows.values() if row.ranks]
    assert rows["linear"].ranks_in.keys() == rows["performer"].ranks_in.keys() == {Pattern.CS}
    assert rows["linear"].unranked_in == {Pattern.NS: "trial: 2 seeds, a rank needs 3"}
    assert rows["cosformer"].marks == ("1 failed",)
    assert rows["gla"].marks == ("trial",)


def test_an_entry_on_a_part_of_a_pattern_has_no_rank_there():
    records = [
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("abc", "mqar", (0.60, 0.61, 0.59)),
        *made("abc", "selective-copy", (0.60, 0.61, 0.59)),
    ]
    board = make_board(records_table(records), "quick", two_of_cs(), VARIANTS)
    assert board.row("linear").unranked_in == {Pattern.CS: "results on 1 of 2 tasks"}
    assert board.row("linear").unranked == "results on 1 of 2 tasks"
    only = "the only entry with complete results in this pattern"
    assert board.row("abc").unranked_in == {Pattern.CS: only}


SCORES = st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3)


@settings(max_examples=30)
@given(SCORES, SCORES, st.sets(st.integers(0, 2), min_size=1, max_size=3), st.sampled_from(
    ["diverged", "timeout", "oom"]
))  # fmt: skip
def test_an_entry_with_failed_seeds_never_outranks_its_own_complete_self(mine, theirs, bad, how):
    rivals = [*made("softmax", "mqar", theirs), *made("abc", "mqar", (0.5, 0.52, 0.48))]
    whole = made("linear", "mqar", mine)
    failed = [
        made("linear", "mqar", (0.0,), first=n, status=how)[0] if n in bad else record
        for n, record in enumerate(whole)
    ]
    before, after = board_of([*rivals, *whole]), board_of([*rivals, *failed])
    assert before.row("linear").ranks is not None
    assert after.row("linear").ranks is None
    assert after.row("linear").ranks_in == {}
    place = [row.entry for row in before.rows].index("linear")
    assert [row.entry for row in after.rows].index("linear") >= place
    assert after.row("linear").failures == len(bad)


@settings(max_examples=15)
@given(st.lists(SCORES, min_size=2, max_size=5), st.integers(0, 10**6))
def test_the_order_of_records_changes_no_rank(values, seed):
    records = [
        one
        for entry, seeds in zip(ENTRIES, values, strict=False)
        for one in made(entry, "mqar", seeds)
    ]
    plain, other = board_of(records), board_of(shuffled(records, seed))
    assert [(row.entry, row.ranks) for row in plain.rows] == [
        (row.entry, row.ranks) for row in other.rows
    ]
    for one, two in combinations([row for row in plain.rows if row.ranks], 2):
        assert one.score.point >= two.score.point
