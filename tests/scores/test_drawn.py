"""Draws: what the intervals are made of, against closed forms."""

import math
import statistics

import numpy as np
import pytest

from cab.scores.drawn import (
    Z95,
    constant,
    keyed_generator,
    mean_over_seeds,
    mean_over_tasks,
    weighted,
)
from cab.scores.report import interval_text
from cab.scores.summary import student_t95
from cab.site.build import half_width

SEEDS = (0.71, 0.64, 0.69, 0.75, 0.61, 0.66, 0.72, 0.68)


def over_tasks(entry, scores, tasks="t", noise=0.0):
    """The mean of tasks, with three seeds on each, of which the first task's scatter."""
    return mean_over_tasks(
        "ns",
        {
            f"{tasks}{i}": mean_over_seeds(
                f"{tasks}{i}", entry, [score + (i == 0) * noise * seed for seed in (-1, 0, 1)]
            )
            for i, score in enumerate(scores)
        },
    )


def half(drawn):
    interval = drawn.interval()
    return (interval.high - interval.low) / 2


def test_the_interval_of_one_mean_is_student_s():
    drawn = mean_over_seeds("mqar", "linear", SEEDS)
    exact = student_t95(len(SEEDS) - 1) * statistics.stdev(SEEDS) / math.sqrt(len(SEEDS))
    assert drawn.point == pytest.approx(statistics.fmean(SEEDS))
    assert half(drawn) == pytest.approx(exact, rel=0.06)


def test_the_variance_of_the_draws_is_that_of_the_mean_also_with_three_seeds():
    values = (0.2, 0.5, 0.55)
    drawn = mean_over_seeds("mqar", "linear", values)
    assert drawn.by_seeds.var() == pytest.approx(statistics.variance(values) / 3, rel=0.08)


def test_one_seed_has_no_interval():
    assert mean_over_seeds("mqar", "linear", [0.5]).interval() is None
    mixed = weighted(
        [(1.0, mean_over_seeds("a", "x", [0.5])), (1.0, mean_over_seeds("b", "x", SEEDS))], 1.0
    )
    assert mixed.interval() is None


def test_equal_seeds_give_an_interval_of_no_width():
    drawn = mean_over_seeds("mqar", "softmax", [1.0, 1.0, 1.0])
    assert (drawn.interval().low, drawn.interval().high) == (1.0, 1.0)


def test_what_two_scores_share_cancels_in_their_difference():
    shared = mean_over_seeds("mqar", "softmax", SEEDS)
    own = mean_over_seeds("mqar", "linear", (0.31, 0.33, 0.3))
    both = weighted([(1.0, own), (-1.0, shared)], own.point - shared.point)
    gap = both.minus(weighted([(-1.0, shared)], -shared.point))
    assert gap.point == pytest.approx(own.point)
    assert half(gap) == pytest.approx(half(own), rel=1e-9)


def test_many_means_need_less_widening_than_one():
    # Welch and Satterthwaite: equal variances of k means with n seeds have k (n - 1) degrees.
    k = 5
    means = {f"task{i}": mean_over_seeds(f"task{i}", "x", (0.4, 0.5, 0.6)) for i in range(k)}
    flat = weighted([(1 / k, one) for one in means.values()], 0.5)
    expected = student_t95(2 * k) * 0.1 / math.sqrt(3 * k)
    assert half(flat) == pytest.approx(expected, rel=0.06)
    assert student_t95(2 * k) / Z95 < 1.2 < student_t95(2) / Z95


def test_the_interval_over_tasks_is_that_of_a_mean_of_tasks():
    # Seeds that do not scatter leave the tasks alone: Student's interval of their scores.
    scores = (0.2, 0.9, 0.6, 0.4, 0.7, 0.5, 0.3, 0.8)
    drawn = over_tasks("x", scores)
    assert drawn.point == pytest.approx(statistics.fmean(scores))
    assert drawn.by_tasks.var() == pytest.approx(statistics.variance(scores) / 8, rel=0.08)
    exact = student_t95(7) * statistics.stdev(scores) / math.sqrt(8)
    assert half(drawn) == pytest.approx(exact, rel=0.06)
    inner = drawn.interval(tasks=False)
    assert inner.high - inner.low == pytest.approx(0)


def test_few_seeds_do_not_widen_what_the_tasks_say():
    scores = (0.2, 0.9, 0.6, 0.4)
    still, noisy = over_tasks("x", scores), over_tasks("x", scores, noise=0.001)
    assert half(noisy) == pytest.approx(half(still), rel=0.02)


def test_tasks_that_part_two_entries_alike_leave_no_width_in_their_difference():
    scores = (0.2, 0.9, 0.6, 0.4)
    gap = over_tasks("x", scores).minus(over_tasks("y", [score - 0.1 for score in scores]))
    assert gap.point == pytest.approx(0.1)
    assert half(gap) == pytest.approx(0, abs=1e-12)
    # Other tasks are drawn for themselves.
    apart = over_tasks("x", scores).minus(over_tasks("y", scores, tasks="u"))
    assert half(apart) > half(over_tasks("x", scores))


def test_patterns_are_strata_of_their_own():
    # Two patterns of four tasks each: the variances add, and so do the degrees, to 6.
    one, other = over_tasks("x", (0.2, 0.9, 0.6, 0.4)), over_tasks("x", (0.3, 0.8, 0.7, 0.5), "u")
    both = weighted([(0.5, one), (0.5, other)], (one.point + other.point) / 2)
    spread = statistics.variance((0.2, 0.9, 0.6, 0.4)) + statistics.variance((0.3, 0.8, 0.7, 0.5))
    narrow, wide = (student_t95(df) * math.sqrt(spread / 16) for df in (6, 4))
    assert 0.94 * narrow < half(both) < 1.06 * wide


def test_one_task_alone_is_not_resampled():
    one = mean_over_seeds("mirror", "x", (0.4, 0.5, 0.6))
    assert mean_over_tasks("ns", {"mirror": one}).interval() == one.interval()


def test_generators_depend_on_their_names_alone():
    assert keyed_generator("a", "b").random() == keyed_generator("a", "b").random()
    assert keyed_generator("a", "b").random() != keyed_generator("ab").random()
    assert np.all(constant(2.0).by_tasks == 0)


def test_what_rounds_to_nothing_is_printed_without_a_sign():
    assert interval_text(constant(-0.004)) == "0.00 [0.00, 0.00]"
    assert half_width(constant(-0.004)) == "0.00 \u2013 0.00"
    assert interval_text(constant(-0.006)).startswith("-0.01")
