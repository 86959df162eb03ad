"""Bisection on curves whose crossing is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cab.measure.crossover import find_crossover, read_crossover
from cab.measure.statistics import Ratio


def measured(curve, noise=0.0):
    """A measurement of mechanism over baseline, and the lengths that were asked for."""
    asked = []

    def at(length):
        asked.append(length)
        value = curve(length)
        return Ratio(value, value * (1 - noise), value * (1 + noise))

    return at, asked


@given(crossing=st.floats(300, 60_000))
def test_a_crossing_is_found_within_its_interval(crossing):
    at, asked = measured(lambda n: crossing / n)  # linear against quadratic
    found = find_crossover(at, 256, 65_536)
    assert found.verdict == "from"
    assert found.length == pytest.approx(crossing, rel=0.01)
    assert found.low <= crossing <= found.high
    assert len(asked) == len(set(asked)) <= 12


def test_noise_widens_the_interval_around_the_crossing():
    at, _ = measured(lambda n: 2000 / n, noise=0.3)
    found = find_crossover(at, 256, 65_536)
    assert found.low < 2000 / 1.3 * 1.2
    assert found.high > 2000
    assert found.length == pytest.approx(2000, rel=0.05)


def test_never_beyond_always_and_unclear_are_answers():
    cases = {
        "never": lambda n: 1.5,
        "beyond": lambda n: 200_000 / n,
        "always": lambda n: 10 / n,
        "unclear": lambda n: 1.0,
    }
    words = {}
    for verdict, curve in cases.items():
        at, _ = measured(curve, noise=0.01)
        found = find_crossover(at, 256, 65_536)
        assert found.verdict == verdict
        words[verdict] = found.words()
    assert words["beyond"] == "> 65,536"
    assert words["always"] == "<= 256"
    assert words["never"].startswith("never")


def test_ratios_of_a_grid_are_read_without_measuring_more():
    def ratio(value):
        return Ratio(value, 0.95 * value, 1.05 * value)

    found = read_crossover({n: ratio(2000 / n) for n in (256, 1024, 4096, 16_384)})
    assert found.length == pytest.approx(2000)
    assert (found.low, found.high) == (1024, 4096)
    assert read_crossover({512: ratio(0.5)}).words() == "<= 512"
    assert read_crossover({512: ratio(2.0)}).words() == "> 512"  # one length shows no trend
    # Falling over two doublings as over each of them.
    assert read_crossover({256: ratio(3.0), 1024: ratio(2.9)}).verdict == "never"
    assert read_crossover({256: ratio(3.0), 1024: ratio(2.0)}).verdict == "beyond"
    # At the shortest it is cheaper, not surely so.
    near = read_crossover({256: ratio(0.98), 1024: ratio(0.5)})
    assert (near.verdict, near.length, near.low, near.high) == ("from", 256, 256, 1024)
