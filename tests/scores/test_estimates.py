"""Estimates: intervals and p-values of sums of means, worked out by hand and against scipy."""

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from cab.publishing.verification import keyed_generator
from cab.scores.estimates import mean_over_seeds, mean_over_tasks, weighted
from cab.scores.report import interval_text
from cab.scores.summary import student_t95
from cab.site.build import half_width

SEEDS = (0.71, 0.64, 0.69, 0.75, 0.61, 0.66, 0.72, 0.68)
VALUES = st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=2, max_size=6)


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


def half(one, tasks=False):
    interval = one.interval(tasks)
    return (interval.high - interval.low) / 2


def test_the_interval_of_one_mean_is_student_s():
    one = mean_over_seeds("mqar", "linear", SEEDS)
    exact = student_t95(len(SEEDS) - 1) * statistics.stdev(SEEDS) / math.sqrt(len(SEEDS))
    assert one.point == pytest.approx(statistics.fmean(SEEDS))
    assert half(one) == pytest.approx(exact)


def test_a_difference_by_hand():
    # Means .6 and .4; variances .01 and .04 over 3 seeds, so the variance of the difference is
    # (.01 + .04) / 3 = .016667, and its degrees of freedom are
    # .05^2 / (.01^2 / 2 + .04^2 / 2) = .0025 / .00085 = 2.941.
    # t = .2 / sqrt(.016667) = 1.549; Student's quantile at 2.941 degrees is 3.2173.
    one = mean_over_seeds("a", "x", (0.5, 0.6, 0.7))
    other = mean_over_seeds("a", "y", (0.2, 0.4, 0.6))
    gap = one.minus(other)
    assert gap.point == pytest.approx(0.2)
    assert half(gap) == pytest.approx(3.2173 * math.sqrt(0.05 / 3), rel=1e-3)
    assert gap.p_value() == pytest.approx(0.2208, abs=5e-4)
    assert not gap.differs_from_zero()


@settings(max_examples=30)
@given(VALUES, VALUES)
def test_one_task_gives_the_p_value_of_welch_s_test(one, other):
    gap = mean_over_seeds("a", "x", one).minus(mean_over_seeds("a", "y", other))
    if len(set(one)) > 1 or len(set(other)) > 1:
        expected = ttest_ind(one, other, equal_var=False).pvalue
        assert gap.p_value() == pytest.approx(expected, abs=1e-9)


@given(VALUES, VALUES)
def test_the_interval_and_the_p_value_agree(one, other):
    gap = mean_over_seeds("a", "x", one).minus(mean_over_seeds("a", "y", other))
    p = gap.p_value()
    assert abs(p - 0.05) < 1e-9 or gap.interval().leaves_out(0) == (p < 0.05)
    assert gap.differs_from_zero() == gap.interval().leaves_out(0) or abs(gap.point) < 1e-12


def test_without_scatter_equal_is_equal_and_unequal_is_different():
    one = mean_over_seeds("a", "x", (0.9, 0.9, 0.9))
    same = one.minus(mean_over_seeds("a", "y", (0.9, 0.9, 0.9)))
    assert (same.p_value(), same.differs_from_zero()) == (1.0, False)
    apart = one.minus(mean_over_seeds("a", "y", (0.901, 0.901, 0.901)))
    assert (apart.p_value(), apart.differs_from_zero()) == (0.0, True)
    assert (apart.interval().low, apart.interval().high) == (apart.point, apart.point)


def test_one_seed_has_no_interval_and_no_p_value():
    one = mean_over_seeds("mqar", "linear", [0.5])
    assert (one.interval(), one.p_value(), one.differs_from_zero()) == (None, None, False)
    mixed = weighted([(1.0, one), (1.0, mean_over_seeds("b", "x", SEEDS))], 1.0)
    assert (mixed.interval(), mixed.p_value()) == (None, None)


def test_what_two_scores_share_cancels_in_their_difference():
    shared = mean_over_seeds("mqar", "softmax", SEEDS)
    own = mean_over_seeds("mqar", "linear", (0.31, 0.33, 0.3))
    both = weighted([(1.0, own), (-1.0, shared)], own.point - shared.point)
    gap = both.minus(weighted([(-1.0, shared)], -shared.point))
    assert gap.point == pytest.approx(own.point)
    assert half(gap) == pytest.approx(half(own))


def test_the_degrees_of_many_means_add_up():
    # Welch and Satterthwaite: equal variances of k means with n seeds have k (n - 1) degrees.
    k = 5
    means = {f"task{i}": mean_over_seeds(f"task{i}", "x", (0.4, 0.5, 0.6)) for i in range(k)}
    flat = weighted([(1 / k, one) for one in means.values()], 0.5)
    assert half(flat) == pytest.approx(student_t95(2 * k) * 0.1 / math.sqrt(3 * k))


def test_the_interval_over_tasks_is_that_of_a_mean_of_tasks():
    # Seeds that do not scatter leave the tasks alone: Student's interval of their scores.
    scores = (0.2, 0.9, 0.6, 0.4, 0.7, 0.5, 0.3, 0.8)
    one = over_tasks("x", scores)
    assert one.point == pytest.approx(statistics.fmean(scores))
    exact = student_t95(7) * statistics.stdev(scores) / math.sqrt(8)
    assert half(one, tasks=True) == pytest.approx(exact)
    assert half(one) == 0


def test_few_seeds_do_not_widen_what_the_tasks_say():
    scores = (0.2, 0.9, 0.6, 0.4)
    still, noisy = over_tasks("x", scores), over_tasks("x", scores, noise=0.001)
    assert half(noisy, tasks=True) == pytest.approx(half(still, tasks=True), rel=0.01)


def test_tasks_that_part_two_entries_alike_leave_no_width_in_their_difference():
    scores = (0.2, 0.9, 0.6, 0.4)
    gap = over_tasks("x", scores).minus(over_tasks("y", [score - 0.1 for score in scores]))
    assert gap.point == pytest.approx(0.1)
    assert half(gap, tasks=True) == pytest.approx(0, abs=1e-12)
    # Other tasks scatter for themselves.
    apart = over_tasks("x", scores).minus(over_tasks("y", scores, tasks="u"))
    assert half(apart, tasks=True) > half(over_tasks("x", scores), tasks=True)


def test_patterns_are_strata_of_their_own():
    # Two patterns of four tasks each: the variances add, and the degrees are between 3 and 6:
    # (a + b)^2 / (a^2 / 3 + b^2 / 3) for the variances a and b of their tasks.
    first, second = (0.2, 0.9, 0.6, 0.4), (0.3, 0.8, 0.7, 0.5)
    one, other = over_tasks("x", first), over_tasks("x", second, "u")
    both = weighted([(0.5, one), (0.5, other)], (one.point + other.point) / 2)
    a, b = statistics.variance(first), statistics.variance(second)
    expected = student_t95((a + b) ** 2 / (a**2 + b**2) * 3) * math.sqrt((a + b) / 16)
    assert half(both, tasks=True) == pytest.approx(expected)


def test_one_task_alone_says_nothing_of_other_tasks():
    one = mean_over_seeds("mirror", "x", (0.4, 0.5, 0.6))
    found = mean_over_tasks("ns", {"mirror": one})
    assert found.interval(tasks=True) == one.interval()


def test_generators_depend_on_their_names_alone():
    assert keyed_generator("a", "b").random() == keyed_generator("a", "b").random()
    assert keyed_generator("a", "b").random() != keyed_generator("ab").random()


def test_what_rounds_to_nothing_is_printed_without_a_sign():
    near, below = (mean_over_seeds("a", "x", [value] * 2) for value in (-0.004, -0.006))
    assert interval_text(near) == "0.00 [0.00, 0.00]"
    assert half_width(near) == "0.00 \u2013 0.00"
    assert interval_text(below).startswith("-0.01")
