"""Rows: hand-computed means and intervals, and laws that every table obeys."""

import math
import random
from typing import Any

import pytest
from cli_support import make_record
from hypothesis import given
from hypothesis import strategies as st

from cab.records.store import Record
from cab.scores.summary import rows_of_task, student_t95, summarise


def seeds(*values: float, **fields: Any) -> list[Record]:
    first = fields.pop("first", 0)
    return [
        make_record(f"{first + n:032x}", seed=n, value=value, **fields)
        for n, value in enumerate(values)
    ]


def test_one_seed_has_the_mean_it_measured_and_an_interval_over_test_examples() -> None:
    (found,) = summarise(seeds(0.75, standard_error=0.02))
    assert found.mean == 0.75
    assert found.interval == pytest.approx(1.96 * 0.02)
    assert found.interval_source == "test examples"
    assert found.seeds == 1
    assert found.seconds == 60.0


def test_three_seeds_have_student_s_interval_with_two_degrees() -> None:
    (found,) = summarise(seeds(0.7, 0.8, 0.9, standard_error=0.02))
    assert found.mean == pytest.approx(0.8)
    # The deviation is 0.1, so the half-width is 4.3027 x 0.1 / sqrt 3.
    assert found.interval == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.interval == pytest.approx(0.248414, rel=1e-5)
    assert found.interval_source == "seeds"
    assert found.seeds == 3


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (1000, 1.9623)]
)
def test_the_quantiles_are_those_of_the_printed_table(degrees: int, quantile: float) -> None:
    assert student_t95(degrees) == pytest.approx(quantile, abs=5e-5)


def test_a_failed_cell_is_counted_and_is_not_zero() -> None:
    failed = [
        make_record("e" * 32, seed=2, status="oom", cost={"total_seconds": 900.0}),
        make_record("d" * 32, seed=3, status="error"),
        make_record("c" * 32, seed=4, status="oom"),
    ]
    (found,) = summarise([*seeds(0.8, 0.9), *failed])
    assert found.mean == pytest.approx(0.85)
    assert found.seeds == 2
    assert found.outcomes == {"ok": 2, "oom": 2, "error": 1}
    assert found.seconds == 60.0


@pytest.mark.parametrize("status", ["oom", "timeout", "diverged", "unsupported", "error"])
def test_an_entry_without_any_good_cell_has_no_mean(status: str) -> None:
    (found,) = summarise([make_record(status=status, variant="linear")])
    assert (found.mean, found.interval, found.interval_source) == (None, None, None)
    assert found.seconds is None
    assert found.outcomes == {status: 1}


def test_settings_make_entries_of_their_own() -> None:
    records = [
        make_record("1" * 32, variant="window", value=0.1),
        make_record("2" * 32, variant="window", value=0.2, options={"window": 8}),
        make_record("3" * 32, variant="window", value=0.3, changed={"train.steps": 5}),
        make_record(
            "4" * 32,
            variant="window",
            value=0.4,
            options={"window": 8},
            changed={"train.steps": 5},
        ),
    ]
    assert [(one.entry, one.mean) for one in summarise(records)] == [
        ("window", 0.1),
        ("window (train.steps=5)", 0.3),
        ("window (train.steps=5, window=8)", 0.4),
        ("window (window=8)", 0.2),
    ]


def test_profiles_tasks_and_versions_never_share_a_row() -> None:
    one = make_record("1" * 32)
    other_profile = one.task.model_copy(update={"profile": "smoke"})
    other_version = one.task.model_copy(update={"version": one.task.version + 1})
    other_task = one.task.model_copy(update={"name": "regress"})
    records = [
        one.model_copy(update={"task": task})
        for task in (one.task, other_profile, other_version, other_task)
    ]
    rows = summarise(records)
    assert len(rows) == 4
    newest = rows_of_task(rows, "mqar", "quick")
    assert [found.version for found in newest.values()] == [one.task.version + 1]
    assert rows_of_task(rows, "nothing", "quick") == {}


def test_of_two_sources_the_one_that_ran_last_is_shown_alone() -> None:
    old = seeds(0.1, 0.1, 0.1, source="a" * 64, minutes=0)
    new = seeds(0.9, 0.9, source="b" * 64, minutes=10, first=10)
    for records in ([*old, *new], [*new, *old]):
        (found,) = summarise(records)
        assert found.mean == pytest.approx(0.9)
        assert found.seeds == 2


SHARE = st.floats(0, 1)


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["softmax", "none", "linear", "window", "mean"]),
        st.sampled_from(["mqar", "regress"]),
        st.integers(0, 4),
        st.sampled_from(["ok", "ok", "ok", "oom", "error"]),
        SHARE,
    ),
    max_size=20,
    unique_by=lambda one: one[:3],
)


def made(entries: list[tuple[str, str, int, str, float]]) -> list[Record]:
    return [
        make_record(
            f"{n:032x}", variant=name, task=task, seed=seed, status=status, value=value, minutes=n
        )
        for n, (name, task, seed, status, value) in enumerate(entries)
    ]


@given(ENTRIES, st.integers())
def test_the_order_of_records_changes_nothing(
    entries: list[tuple[str, str, int, str, float]], chance: int
) -> None:
    records = made(entries)
    shuffled = random.Random(chance).sample(records, len(records))
    for one, two in zip(summarise(records), summarise(shuffled), strict=True):
        assert one == two


@given(ENTRIES, st.lists(SHARE, min_size=1, max_size=3))
def test_adding_an_entry_changes_no_other_row(
    entries: list[tuple[str, str, int, str, float]], values: list[float]
) -> None:
    before = made(entries)
    newcomer = [
        make_record(f"{100 + n:032x}", variant="newcomer", seed=n, value=value, minutes=999)
        for n, value in enumerate(values)
    ]
    after = [one for one in summarise([*before, *newcomer]) if one.variant != "newcomer"]
    assert after == summarise(before)
