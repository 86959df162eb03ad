"""CAB's and LRA's published tables: the legacy index, efficiency lengths, and their errata."""

import json

import pytest
from support import REPOSITORY

from cab.errors import CabError
from cab.measure.crossover import read_crossover
from cab.measure.statistics import Ratio
from cab.scores.correlation import correlate
from cab.scores.efficiency import fitted_efficiency_length
from cab.scores.reference import legacy_index, read_reference

LRA, CAB = sorted(read_reference(REPOSITORY / "results"), key=lambda one: one.name, reverse=True)
INDEX = {table.pattern: table for table in CAB.index_tables}
COSTS = next(table for table in CAB.tables if table.title.startswith("Cost against length"))


def entries(*patterns):
    return [(pattern, entry) for pattern in patterns for entry in INDEX[pattern].published]


@pytest.mark.parametrize(("pattern", "entry"), entries("ns", "nc", "cc"))
def test_the_published_index_follows_from_the_published_values(pattern, entry):
    found, published = legacy_index(INDEX[pattern], entry), INDEX[pattern].published[entry]
    assert INDEX[pattern].reproduced
    assert found.keys() == published.keys()
    for column, value in published.items():
        assert found[column] == (value if value is None else pytest.approx(value, abs=0.03))


def test_causal_self_does_not_reproduce_and_says_so():
    table = INDEX["cs"]
    assert not table.reproduced
    off = abs(legacy_index(table, "ABC")["LM"] - table.published["ABC"]["LM"])
    assert off == pytest.approx(0.289, abs=0.001)
    assert any("31.5" in erratum for erratum in table.errata)
    assert legacy_index(table, "vanilla")["index"] is None


def test_every_table_is_whole_and_every_pattern_has_its_errata():
    assert set(INDEX) == {"ns", "cs", "nc", "cc"}
    for table in INDEX.values():
        assert {len(row) for row in table.values.values()} == {len(table.metrics)}
        assert table.values.keys() == table.published.keys()
    for table in (*CAB.tables, *LRA.tables):
        assert {len(row) for row in table.values.values()} == {len(table.columns)}
    assert all(INDEX[pattern].errata for pattern in ("ns", "cs", "nc"))


def test_lra_s_averages_are_those_of_its_five_tasks():
    for table in LRA.tables:
        place = table.columns.index("average")
        for entry, row in table.values.items():
            off = abs(sum(row[:5]) / 5 - row[place])
            assert off < 0.04 or any(entry in erratum for erratum in table.errata)


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "x.json").write_text(json.dumps({"name": 1}))
    with pytest.raises(CabError, match=r"x\.json"):
        read_reference(tmp_path)


def costs(entry):
    return dict(zip(map(int, COSTS.columns), COSTS.values[entry], strict=True))


def test_the_published_efficiency_lengths_follow_from_the_published_costs():
    slow, fast = costs("vanilla, ms"), costs("ABC, ms")
    del fast[256]  # as CAB's script does
    fit = fitted_efficiency_length(slow, fast)
    assert fit.length == pytest.approx(1877, abs=1)
    assert fit.mechanism_r2 == pytest.approx(0.965, abs=0.001)
    memory = fitted_efficiency_length(costs("vanilla, MB"), costs("ABC, MB"))
    assert memory.length == pytest.approx(70, abs=1)


def test_the_published_times_cross_where_they_were_measured_far_from_the_fit():
    slow, fast = costs("vanilla, ms"), costs("ABC, ms")
    ratios = {n: Ratio(*(fast[n] / slow[n],) * 3) for n in slow}
    assert 256 < read_crossover(ratios).length < 512


def test_two_fits_that_do_not_cross_have_no_length():
    assert fitted_efficiency_length({1: 1, 2: 4, 3: 9}, {1: -9, 2: -9, 3: -9.5}).length is None


def test_correlations_carry_n_and_an_interval_and_are_refused_below_five():
    x = {f"e{n}": float(n) for n in range(10)}
    y = {f"e{n}": float(n * n) for n in range(9)}
    found = correlate(x, y)
    assert found.n == 9
    assert found.r == pytest.approx(0.96216, abs=1e-5)
    # By hand: r = 480 / sqrt(60 x 4148); atanh r = 1.974, half-width 1.96 / sqrt 6 = .800.
    assert found.interval.low == pytest.approx(0.8256, abs=1e-3)
    assert found.interval.high == pytest.approx(0.9922, abs=1e-3)
    few = correlate(x, {"e1": 1.0, "e2": 5.0, "e3": 2.0, "e4": 0.0})
    assert (few.n, few.r, few.interval) == (4, None, None)
    assert "n = 4" in few.refused
    assert correlate(x, dict.fromkeys(x, 1.0)).r is None


def test_cab_s_perfect_correlations_are_refused():
    ns, cs = ({e: row["index"] for e, row in INDEX[p].published.items()} for p in ("ns", "cs"))
    known = [{e: v for e, v in column.items() if v is not None} for column in (ns, cs)]
    assert correlate(*known).r is None
