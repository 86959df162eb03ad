"""The rate that validation chooses: a function of records, and of nothing else."""

import random

import pytest
from cli_support import make_record

from cab.records.parts import Estimate, Metrics, Settings
from cab.records.rates import (
    at_an_end,
    at_chosen_rate,
    chosen_rate,
    rate_of,
    rates_of,
    to_try,
    without_seeds_beside,
)

RATES = (0.002, 0.005, 0.01)


def trial(rate, valid=0.5, *, seed=0, status="ok", test=0.5, rates=RATES, better=True):
    """A record of a cell at a rate, with its validation and test results."""
    found = {
        split: {"accuracy": Estimate(value=value, standard_error=0.01, n=100)}
        for split, value in (("valid", valid), ("test", test))
    }
    return make_record(
        f"{round(rate * 1e6) + seed * 10**9:032x}",
        seed=seed,
        status=status,
        higher_is_better=better,
        settings=Settings(
            recipe={"train": {"learning_rate": rate}, "rates": list(rates)}, changed={}
        ),
        metrics=Metrics(**found) if status == "ok" else Metrics(),
    )


def test_the_best_rate_on_validation_is_chosen_whatever_the_test_says():
    records = [trial(0.002, 0.3, test=0.9), trial(0.005, 0.6, test=0.1), trial(0.01, 0.5)]
    for _ in range(10):
        random.Random(0).shuffle(records)
        assert chosen_rate(records) == 0.005


def test_of_a_metric_that_is_to_be_small_the_smallest_is_chosen():
    records = [
        trial(rate, value, better=False) for rate, value in zip(RATES, (3, 1, 2), strict=True)
    ]
    assert chosen_rate(records) == 0.005


def test_nothing_is_chosen_before_all_rates_have_ended():
    assert chosen_rate([]) is None
    assert chosen_rate([trial(0.002), trial(0.01)]) is None
    assert chosen_rate([trial(0.002), trial(0.005), trial(0.01, seed=1)]) is None
    assert chosen_rate([trial(0.002), trial(0.005), trial(0.01, status="error")]) is None


@pytest.mark.parametrize("status", ["diverged", "timeout", "oom", "unsupported"])
def test_a_rate_that_failed_is_not_chosen(status):
    records = [trial(0.002, 0.1), trial(0.005, status=status), trial(0.01, 0.2)]
    assert to_try(records) == (0.02,)
    assert chosen_rate([*records, trial(0.02, status=status)]) == 0.01
    failed = [trial(rate, status=status) for rate in RATES]
    assert (to_try(failed), chosen_rate(failed)) == ((), None)


def test_beyond_an_end_that_is_best_one_rate_after_the_other_is_tried():
    records = [trial(0.002, 0.3), trial(0.005, 0.5), trial(0.01, 0.6)]
    for rate, value, after in ((0.02, 0.7, 0.04), (0.04, 0.8, None)):
        assert (chosen_rate(records), to_try(records)) == (None, (rate,))
        assert to_try([*records, trial(rate, status="error")]) == (rate,)
        assert chosen_rate([*records, trial(rate, 0.1)]) == rate / 2
        records.append(trial(rate, value))
        assert to_try(records) == (() if after is None else (after,))
    assert chosen_rate(records) == 0.04  # no more than two are tried
    assert at_an_end(records)
    lower = [trial(0.002, 0.6), trial(0.005, 0.5), trial(0.01, 0.4)]
    assert to_try(lower) == (0.001,)
    assert chosen_rate([*lower, trial(0.001, 0.55)]) == 0.002
    assert not at_an_end([*lower, trial(0.001, 0.55)])


def test_a_rate_that_the_rule_does_not_ask_for_changes_no_choice():
    records = [trial(0.002, 0.3), trial(0.005, 0.6), trial(0.01, 0.5)]
    assert chosen_rate([*records, trial(0.04, 0.9), trial(0.001, 0.9)]) == 0.005


def test_of_results_within_one_standard_error_of_the_best_the_middle_rate_counts():
    for values, chosen in (
        ((0.700, 0.691, 0.6), 0.005),
        ((0.700, 0.689, 0.6), 0.002),
        ((0.700, 0.689, 0.691), 0.002),
        ((0.6, 0.691, 0.700), 0.005),
        ((0.6, 0.689, 0.700), 0.01),
    ):
        found = [(0.001, 0.1), *zip(RATES, values, strict=True), (0.02, 0.1)]
        assert chosen_rate([trial(rate, value) for rate, value in found]) == chosen
        losses = [trial(rate, -value, better=False) for rate, value in found]
        assert chosen_rate(losses) == chosen


def test_it_is_the_standard_error_of_the_best_that_counts():
    wide = trial(0.01, 0.7)
    found = wide.metrics.valid["accuracy"].model_copy(update={"standard_error": 0.2})
    metrics = wide.metrics.model_copy(update={"valid": {"accuracy": found}})
    wide = wide.model_copy(update={"metrics": metrics})
    assert chosen_rate([trial(0.002, 0.3), trial(0.005, 0.55), wide]) == 0.005
    narrow = [trial(0.001, 0.3), trial(0.002, 0.8), trial(0.005, 0.55)]
    assert chosen_rate([*narrow, wide]) == 0.002


def test_of_equal_results_the_middle_counts_and_then_the_lower_rate():
    assert chosen_rate([trial(rate) for rate in RATES]) == 0.005
    ends = [trial(0.001, 0.6), trial(0.002, 0.7), trial(0.005, 0.6), trial(0.01, 0.7)]
    assert chosen_rate(ends) == 0.002


def test_other_seeds_do_not_change_the_choice():
    records = [trial(0.002, 0.3), trial(0.005, 0.6), trial(0.01, 0.5)]
    more = [trial(0.005, 0.0, seed=1), trial(0.005, 0.0, seed=2), trial(0.01, 1.0, seed=1)]
    assert chosen_rate([*more, *records]) == 0.005
    chosen, others = at_chosen_rate([*records, *more])
    assert [(rate_of(one), one.seed) for one in chosen] == [(0.005, 0), (0.005, 1), (0.005, 2)]
    assert [(rate_of(one), one.seed) for one in others] == [(0.002, 0), (0.01, 0), (0.01, 1)]


def test_a_task_with_one_rate_has_no_choice():
    for rates in ((), (0.002, 0.02)):
        record = trial(0.005, rates=rates)
        assert rates_of(record) == (0.005,)
        assert chosen_rate([record, trial(0.005, seed=1, rates=rates)]) == 0.005


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"train": 3, "rates": 4},
        {"train": {"learning_rate": "fast"}, "rates": ["a", True, None]},
        {"train": {}, "rates": {"a": 1}},
    ],
)
def test_a_recipe_that_says_nothing_of_rates_is_read_all_the_same(recipe):
    record = make_record(settings=Settings(recipe=recipe, changed={}))
    assert rates_of(record) == (rate_of(record),) == (0.0,)


def test_further_seeds_at_another_rate_are_told_apart():
    search = [trial(0.002, 0.3), trial(0.005, 0.6), trial(0.01, 0.5)]
    chosen = trial(0.005, seed=1)
    beside = [trial(0.002, seed=1), trial(0.01, seed=2)]
    assert without_seeds_beside([*search, chosen, *beside]) == [*search, chosen]
    open_ = [*search[:2], *beside, chosen]  # no rate is chosen yet
    assert without_seeds_beside(open_) == open_
