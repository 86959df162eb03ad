"""Comparison of two entries: hand-computed differences, by the test of the ranks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import TASKS, board_of, made, made_board

from cab.scores.comparison import compare
from cab.scores.rank_sets import corrected_p_values
from cab.taxonomy import Pattern

PATTERNS = {name: card.pattern for name, card in TASKS.items()}


def compared(records, one="linear", other="performer"):
    return compare(board_of(records), one, other, PATTERNS)


def test_a_difference_on_a_task_by_hand():
    # On a scale of .2 to 1: means (.7 - .6) / .8 = .125. Both deviations are .1 / .8 = .125 over
    # 3 seeds, so the variance is 2 x .125^2 / 3 = .0104167, its root .102062, with 4 degrees of
    # freedom: t = 1.2247, p = .2879; the quantile is 2.77645, so the half width is .283370.
    found = compared([
        *made("linear", "mqar", (0.6, 0.7, 0.8)),
        *made("performer", "mqar", (0.5, 0.6, 0.7)),
    ])  # fmt: skip
    (task,) = found.tasks
    assert (task.name, task.seeds) == ("mqar", (3, 3))
    assert task.difference == pytest.approx(0.125)
    assert task.interval.low == pytest.approx(0.125 - 0.283370, rel=1e-4)
    assert task.interval.high == pytest.approx(0.125 + 0.283370, rel=1e-4)
    assert task.p_value == pytest.approx(0.2879, abs=1e-4)
    (pattern,) = found.patterns
    assert (pattern.name, pattern.p_value) == (Pattern.CS, task.p_value)
    # They are the only two: nothing is corrected.
    assert pattern.corrected == pytest.approx(task.p_value)
    assert not pattern.significant
    assert (found.overall.difference, found.overall.p_value) == (task.difference, task.p_value)


def test_seeds_are_not_paired():
    one = [*made("linear", "mqar", (0.6, 0.7, 0.8)), *made("performer", "mqar", (0.5, 0.6, 0.7))]
    other = [*made("linear", "mqar", (0.8, 0.6, 0.7)), *made("performer", "mqar", (0.5, 0.6, 0.7))]
    plain, mixed = compared(one).tasks[0], compared(other).tasks[0]
    assert plain.p_value == pytest.approx(mixed.p_value)
    assert plain.interval.low == pytest.approx(mixed.interval.low)


def test_one_seed_has_a_difference_and_no_interval_and_other_tasks_are_named():
    found = compared([
        *made("linear", "mqar", (0.5, 0.6, 0.7)),
        *made("performer", "mqar", (0.6,), first=2),
        *made("linear", "mirror", (0.5, 0.6, 0.7)),
    ])  # fmt: skip
    assert found.tasks[0].seeds == (3, 1)
    assert found.tasks[0].difference == pytest.approx(0)
    assert (found.tasks[0].interval, found.tasks[0].p_value) == (None, None)
    assert found.patterns[0].corrected is None
    assert found.only_one == ("mirror",)


def test_patterns_weigh_the_same():
    # mqar: (.9 - .5) / .8 = .5; mirror: 0. The mean is .25.
    found = compared([
        *made("linear", "mqar", (0.9, 0.9)),
        *made("linear", "mirror", (0.4, 0.4, 0.4)),
        *made("performer", "mqar", (0.5, 0.5)),
        *made("performer", "mirror", (0.4, 0.4, 0.4)),
    ])  # fmt: skip
    assert found.overall.difference == pytest.approx(0.25)
    assert [one.difference for one in found.patterns] == pytest.approx([0.0, 0.5])
    # Without scatter: equal is not different, unequal is.
    assert [one.p_value for one in found.patterns] == [1.0, 0.0]


def test_without_a_shared_task_there_is_no_difference():
    records = [*made("linear", "mqar", (0.5,)), *made("performer", "mirror", (0.5,))]
    found = compared(records)
    assert (found.overall, found.patterns, found.tasks) == (None, (), ())
    with pytest.raises(KeyError, match="window"):
        compared(records, "linear", "window")


def test_a_comparison_is_the_other_s_with_its_sign_changed():
    records = made_board({"linear": 0.7, "performer": 0.5})
    one, other = compared(records), compared(records, "performer", "linear")
    assert one.overall.difference == pytest.approx(-other.overall.difference)
    assert one.overall.p_value == pytest.approx(other.overall.p_value)
    assert one.overall.interval.low == pytest.approx(-other.overall.interval.high)
    assert [p.corrected for p in one.patterns] == [p.corrected for p in other.patterns]


@settings(max_examples=15)
@given(st.lists(st.floats(0.2, 0.9), min_size=3, max_size=4))
def test_the_verdict_on_a_pattern_is_that_of_the_board(places):
    names = ("linear", "performer", "deltanet", "gla")
    board = board_of(made_board(dict(zip(names, places, strict=False))))
    for pattern in Pattern:
        scores = {
            row.entry: row.patterns[pattern] for row in board.rows if pattern in row.ranks_in
        }
        corrected = corrected_p_values(scores)
        better = dict.fromkeys(scores, 0)
        for one, other in corrected:
            found = compare(board, one, other, PATTERNS)
            (own,) = (p for p in found.patterns if p.name == pattern)
            assert own.corrected == corrected[one, other] >= own.p_value
            assert own.interval.leaves_out(0) == (own.p_value < 0.05)
            if own.significant:
                better[one if own.difference < 0 else other] += 1
        for entry, count in better.items():
            assert board.row(entry).ranks_in[pattern].best == 1 + count
