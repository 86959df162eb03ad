"""Consistency, benefit of attention, other lengths: by hand."""

import pytest
from made_records import TASKS, VARIANTS, made, made_board

from cab.scores.analyses import (
    benefit_of_attention,
    consistency,
    length_profile,
    pattern_correlations,
    task_correlations,
)
from cab.scores.board import make_board
from cab.scores.estimates import mean_over_seeds
from cab.scores.table import records_table
from cab.taxonomy import Pattern


def board_of(records):
    return make_board(records_table(records), "quick", TASKS, VARIANTS)


def test_consistency_is_the_gap_between_best_and_worst_pattern():
    records = [
        record
        for task, values in {"mqar": (0.6, 0.61, 0.59), "mirror": (0.8, 0.81, 0.79)}.items()
        for record in (
            *made("softmax", task, (0.9, 0.9, 0.9)),
            *made("none", task, (0.4, 0.4, 0.4)),
            *made("linear", task, values),
        )
    ]
    board = board_of(records)
    found = consistency(board.row("linear"))
    assert (found.best, found.worst) == (Pattern.NS, Pattern.CS)
    # (.8 - .6) / .8
    assert found.spread == pytest.approx(0.25)
    assert found.real
    assert not consistency(board.row("softmax")).real
    alone = [record for record in records if record.task.name == "mqar"]
    assert consistency(board_of(alone).row("linear")) is None


def test_benefit_is_oriented_and_undecided_where_it_cannot_be_told():
    high = mean_over_seeds("t", "softmax", (0.8, 0.82, 0.81))
    low = mean_over_seeds("t", "none", (0.3, 0.31, 0.29))
    assert benefit_of_attention("t", high, low, True).difference == pytest.approx(0.51)
    assert benefit_of_attention("t", high, low, True).helps
    assert benefit_of_attention("t", high, low, False).helps is False
    same = mean_over_seeds("t", "none", (0.79, 0.83, 0.81))
    assert benefit_of_attention("t", high, same, True).helps is None
    once = mean_over_seeds("t", "none", (0.1,))
    assert benefit_of_attention("t", high, once, True).helps is None


def test_losses_at_other_lengths_are_ratios():
    found = length_profile({256: 20.0, 512: 18.0, 1024: 16.0, 2048: 24.0, 4096: 80.0}, 1024)
    assert found.ratios[512] == pytest.approx(1.125)
    assert found.interpolation == pytest.approx(1.25)
    assert found.extrapolation == pytest.approx(5.0)
    assert length_profile({1024: 3.0}, 1024).extrapolation is None
    with pytest.raises(ValueError, match="length of training"):
        length_profile({512: 2.0}, 1024)
    with pytest.raises(ValueError, match="above 0"):
        length_profile({1024: float("inf")}, 1024)


def test_correlations_are_refused_until_five_entries_have_both():
    four = {"linear": 0.2, "performer": 0.4, "abc": 0.6, "gqa": 0.9}
    refused = pattern_correlations(board_of(made_board(four)))
    assert len(refused) == 6
    assert {(one.n, one.r) for one in refused.values()} == {(4, None)}
    found = pattern_correlations(board_of(made_board({**four, "mqa": 0.95})))
    assert {one.n for one in found.values()} == {5}
    assert all(one.interval.low < one.r < one.interval.high for one in found.values())
    tasks = task_correlations(board_of(made_board({**four, "mqa": 0.95})))
    assert {one.n for one in tasks.values()} == {5}
