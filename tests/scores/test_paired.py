"""Paired comparison: hand-computed differences, and the sign test against counting by hand."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import TASKS, VARIANTS, made, made_board

from cab.scores.board import make_board
from cab.scores.paired import compare, sign_flip_p
from cab.scores.summary import student_t95
from cab.scores.table import records_table

PATTERNS = {name: card.pattern for name, card in TASKS.items()}
SOFTMAX, NONE = (0.9, 0.9, 0.9), (0.4, 0.4, 0.4)


def compared(records, one="linear", other="performer"):
    board = make_board(records_table(records), "quick", TASKS, VARIANTS)
    return compare(board, one, other, PATTERNS)


def on(task):
    return [*made("softmax", task, SOFTMAX), *made("none", task, NONE)]


def test_differences_are_taken_seed_by_seed_on_the_task_s_scale():
    found = compared(
        [
            *on("mqar"),
            *made("linear", "mqar", (0.5, 0.6, 0.9)),
            *made("performer", "mqar", (0.4, 0.5, 0.7)),
        ]
    )
    (task,) = found.tasks
    assert task.pairs == pytest.approx((0.2, 0.2, 0.4))
    assert found.difference == pytest.approx(0.8 / 3)
    half = student_t95(2) * statistics.stdev(task.pairs) / math.sqrt(3)
    assert found.interval.high == pytest.approx(0.8 / 3 + half)
    assert task.interval.low == pytest.approx(0.8 / 3 - half)
    assert found.p_value == pytest.approx(2 / 8)


def test_seeds_that_one_lacks_are_left_out_and_tasks_are_named():
    found = compared(
        [
            *on("mqar"),
            *on("mirror"),
            *made("linear", "mqar", (0.5, 0.6, 0.7)),
            *made("performer", "mqar", (0.6,), first=2),
            *made("linear", "mirror", (0.5, 0.6, 0.7)),
        ]
    )
    assert found.tasks[0].pairs == pytest.approx((0.2,))
    assert found.interval is None
    assert found.only_one == ("mirror",)


def test_patterns_weigh_the_same():
    found = compared(
        [
            *on("mqar"),
            *on("mirror"),
            *made("linear", "mqar", (0.9, 0.9)),
            *made("performer", "mqar", (0.4, 0.4)),
            *made("linear", "mirror", (0.4, 0.4, 0.4)),
            *made("performer", "mirror", (0.4, 0.4, 0.4)),
        ]
    )
    assert found.difference == pytest.approx(0.5)


def test_without_a_shared_task_there_is_no_difference():
    found = compared(
        [
            *on("mqar"),
            *on("mirror"),
            *made("linear", "mqar", (0.5,)),
            *made("performer", "mirror", (0.5,)),
        ]
    )
    assert (found.difference, found.p_value, found.tasks) == (None, None, ())
    with pytest.raises(KeyError, match="window"):
        compared(on("mqar"), "softmax", "window")


def test_a_comparison_is_the_other_s_with_its_sign_changed():
    records = made_board({"linear": 0.7, "performer": 0.5})
    one, other = compared(records), compared(records, "performer", "linear")
    assert one.difference == pytest.approx(-other.difference)
    assert one.p_value == other.p_value
    assert one.interval.low == pytest.approx(-other.interval.high)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=7))
def test_the_sign_test_counts_all_assignments(terms):
    observed = abs(sum(terms))
    tolerance = 1e-12 * (1 + observed)
    reached = [
        abs(sum(sign * term for sign, term in zip(signs, terms, strict=True)))
        >= observed - tolerance
        for signs in itertools.product((1, -1), repeat=len(terms))
    ]
    assert sign_flip_p(terms) == pytest.approx(sum(reached) / len(reached), abs=2 / len(reached))
    assert 0 < sign_flip_p(terms) <= 1


def test_many_pairs_are_drawn_and_agree_with_the_normal_limit():
    terms = [0.1 * (1 + n % 3) * (1 if n % 4 else -1) for n in range(40)]
    z = sum(terms) / math.sqrt(sum(term**2 for term in terms))
    expected = 2 * (1 - statistics.NormalDist().cdf(abs(z)))
    assert sign_flip_p(terms) == pytest.approx(expected, rel=0.15)
    assert sign_flip_p(terms) == sign_flip_p(terms)
