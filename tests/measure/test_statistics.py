"""Statistics against numpy, scipy and plain simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from cab.measure.statistics import noise_floor, paired_ratio, quantile, summarise

SAMPLES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)


@given(samples=SAMPLES, share=st.floats(0, 1))
def test_quantiles_equal_numpys(samples, share):
    expected = float(np.quantile(samples, share))
    assert math.isclose(quantile(sorted(samples), share), expected, rel_tol=1e-9)


@given(samples=SAMPLES)
def test_a_summary_is_ordered_and_its_median_is_numpys(samples):
    one = summarise(samples)
    assert math.isclose(one.median, float(np.median(samples)), rel_tol=1e-9)
    assert min(samples) <= one.low <= one.median <= one.high <= max(samples)
    assert one.p20 <= one.median <= one.p80
    assert one.samples == len(samples)


@pytest.mark.parametrize("n", [9, 31, 75])
def test_the_interval_is_what_scipys_bootstrap_of_the_median_converges_to(n):
    values = np.random.default_rng(n).lognormal(size=n)
    simulated = scipy.stats.bootstrap(
        (values,),
        np.median,
        method="percentile",
        n_resamples=40_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    one, ordered = summarise(values.tolist()), np.sort(values)
    for exact, approximate in zip((one.low, one.high), simulated, strict=True):
        # Both are values of the sample; simulation may end at the neighbour of the exact rank.
        apart = np.searchsorted(ordered, exact) - np.searchsorted(ordered, approximate)
        assert abs(int(apart)) <= 1


@pytest.mark.parametrize("n", [20, 30, 31])
def test_the_interval_holds_the_true_median_as_often_as_it_says(n):
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(600):
        one = summarise(generator.normal(size=n).tolist())
        held += one.low <= 0 <= one.high
    assert held / 600 >= 0.92


def test_no_samples_or_samples_without_end_raise():
    for bad in ([], [1.0, math.inf], [math.nan]):
        with pytest.raises(ValueError, match="finite"):
            summarise(bad)


def test_a_drift_that_hits_both_of_a_pair_leaves_the_ratio_alone():
    drift = [1 + i / 10 for i in range(30)]
    ratio = paired_ratio([2 * one for one in drift], drift)
    assert math.isclose(ratio.value, 2)
    assert math.isclose(ratio.low, 2)
    assert ratio.below_one is False
    assert paired_ratio(drift, [2 * one for one in drift]).below_one is True
    noisy = [1 + (-1) ** i * 0.1 for i in range(30)]
    assert paired_ratio(noisy, [1.0] * 30).below_one is None


def test_the_noise_floor_is_the_ratio_of_odd_to_even_rounds():
    assert noise_floor([1.0, 1.2] * 10) == pytest.approx(1.2)
    assert noise_floor([1.2, 1.0] * 10) == pytest.approx(1.2)
    assert noise_floor([1.0] * 20) == 1.0
