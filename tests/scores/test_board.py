"""The board: hand-computed scores, and the laws that every board obeys."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import TASKS, VARIANTS, board_of, ends, made, made_board, shuffled

from cab.records.store import Estimate
from cab.scores.board import make_board
from cab.scores.table import current, records_table
from cab.taxonomy import Pattern

ENTRIES = ("linear", "performer", "window", "abc", "cosformer")


def test_scores_are_means_over_tasks_of_places_between_control_and_reference():
    records = [
        *ends("mqar", (0.9, 1.0, 0.8), (0.1, 0.1, 0.1)),
        *ends("mirror", (0.8, 0.8, 0.8), (0.4, 0.4, 0.4)),
        *made("linear", "mqar", (0.4, 0.5, 0.6)),
        *made("linear", "mirror", (0.7, 0.7, 0.7)),
    ]
    board = board_of(records)
    linear = board.row("linear")
    assert linear.patterns[Pattern.CS].point == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert linear.patterns[Pattern.NS].point == pytest.approx(0.75)
    assert linear.score.point == pytest.approx((0.5 + 0.75) / 2)
    assert str(linear.coverage) == "2/2 patterns, 2/2 tasks"
    assert board.row("softmax").score.point == pytest.approx(1)
    assert board.row("none").score.point == pytest.approx(0)
    # digits does not scatter: its half of the score has no width of its own.
    interval = linear.score.interval()
    assert interval.low < 0.625 < interval.high


def test_a_guess_that_beats_no_attention_is_the_floor():
    records = [*ends("mqar", none=(0.0, 0.0, 0.0)), *made("linear", "mqar", (0.5, 0.5, 0.5))]
    chance = TASKS["mqar"].chance
    found = board_of(records).row("linear").score.point
    assert found == pytest.approx((0.5 - chance) / (0.9 - chance))


def test_lower_is_better_where_the_metric_says_so():
    from dataclasses import replace

    from cab.taxonomy import Certificate

    certificate = {"quick": Certificate(0.1, 3, {"softmax": 1.0, "none": 0.0})}
    tasks = {"byte-lm": replace(TASKS["byte-lm"], diagnostic=(), certificate=certificate)}
    records = [
        *made("softmax", "byte-lm", (2.0, 2.0)),
        *made("none", "byte-lm", (4.0, 4.0)),
        *made("linear", "byte-lm", (2.5, 2.5)),
        *made("window", "byte-lm", (1.5, 1.5)),
    ]
    board = make_board(records_table(records), "quick", tasks, VARIANTS)
    assert board.row("linear").score.point == pytest.approx(0.75)
    assert board.row("window").score.point == pytest.approx(1.25)


def test_a_missing_cell_is_not_zero_and_does_not_disappear():
    records = [
        *ends("mqar"),
        *ends("mirror"),
        *made("linear", "mqar", (0.8, 0.8, 0.8)),
        *made("linear", "mirror", (0.0, 0.0), status="oom"),
    ]
    row = board_of(records).row("linear")
    assert row.score.point == pytest.approx(0.75)
    assert str(row.coverage) == "1/2 patterns, 1/2 tasks"
    assert row.results["mirror"].outcomes == {"oom": 2}
    assert row.results["mirror"].score is None


def test_an_entry_with_nothing_scored_stays_on_the_board_without_a_score():
    records = [*ends("mqar"), *made("linear", "mqar", (0.0,), status="diverged")]
    row = board_of(records).row("linear")
    assert row.score is None
    assert row.place is None
    assert row.results["mqar"].outcomes == {"diverged": 1}


def test_the_noise_band_is_what_the_reimplementation_rows_reach():
    records = [*ends("mqar"), *made("sdpa", "mqar", (0.88, 0.9, 0.92))]
    band, row = board_of(records).band, board_of(records).row("sdpa")
    assert band == row.score.interval(tasks=False)
    assert band.low < 1 < band.high
    assert board_of(ends("mqar")).band is None


def test_another_implementation_of_an_entry_is_shown_and_not_ranked():
    names = ("linear", "gla", "lasp2")
    records = [r for name in names for r in made(name, "mqar", (0.6, 0.62, 0.64))]
    board = board_of([*ends("mqar"), *records])
    assert board.row("linear").place is not None
    assert board.row("lasp2").place is None
    assert board.row("lasp2").score.point == board.row("linear").score.point
    assert board.row("lasp2").role_words == "equivalent"


def test_tasks_that_do_not_count_say_why():
    left_out = board_of([*ends("mqar", softmax=(0.2, 0.2), none=(0.3, 0.3))]).left_out
    assert "not above" in left_out["mqar"]
    assert "diagnostic" in left_out["byte-lm"]
    assert left_out["mirror"] == ("softmax and none have no result yet, so there is no scale")
    (one_end,) = made("softmax", "mirror", (0.9,))
    left_out = board_of([*ends("mqar"), one_end]).left_out
    assert left_out["mirror"] == "none has no result yet, so there is no scale"


@pytest.mark.parametrize(
    "changes",
    [
        {"changed": {"train.steps": 9}},
        {"version": 99},
        {"profile": "smoke"},
    ],
)
def test_what_is_not_comparable_is_not_on_the_board(changes):
    records = [*ends("mqar"), *made("linear", "mqar", (0.7, 0.7, 0.7), **changes)]
    assert {row.variant for row in board_of(records).rows} == {"softmax", "none"}


def test_unchecked_records_are_not_on_the_board():
    (record,) = made("linear", "mqar", (0.7,))
    variant = record.variant.model_copy(update={"unchecked": True})
    records = [*ends("mqar"), record.model_copy(update={"variant": variant})]
    assert {row.variant for row in board_of(records).rows} == {"softmax", "none"}


def test_results_of_an_older_source_do_not_mix_with_newer_ones():
    records = [
        *ends("mqar"),
        *made("linear", "mqar", (0.9, 0.9, 0.9), source="b" * 64, minutes=1),
        *made("linear", "mqar", (0.6,), source="c" * 64, minutes=2),
    ]
    row = board_of(records).row("linear")
    assert row.source == "c" * 64
    assert row.results["mqar"].values == {0: 0.6}


def tuned(rate, valid, test, seed=0, status="ok"):
    """A record of profile standard, whose learning rates are chosen on validation."""
    changed = {"train.learning_rate": rate}
    (record,) = made(
        "linear", "mqar", (test,), profile="standard", changed=changed, first=seed, status=status
    )
    if status != "ok":
        return record
    validated = {"accuracy": Estimate(value=valid, standard_error=0.0, n=9)}
    metrics = record.metrics.model_copy(update={"valid": validated})
    return record.model_copy(update={"metrics": metrics})


def test_a_learning_rate_is_chosen_on_validation_where_the_profile_says_so():
    table = records_table([tuned(1e-3, 0.7, 0.5), tuned(3e-3, 0.8, 0.4), tuned(9e-3, 0.1, 0.9)])
    kept = current(table, TASKS, "standard")
    assert kept["entry"].tolist() == ["linear"]
    assert kept["value"].tolist() == [0.4]


def test_a_learning_rate_whose_seeds_failed_is_not_preferred_for_the_one_that_did_not():
    steady = [tuned(1e-3, 0.7, 0.5, seed) for seed in range(3)]
    lucky = [tuned(1e-1, 0.9, 0.8, 0), *(tuned(1e-1, 0, 0, n, "diverged") for n in (1, 2))]
    kept = current(records_table([*steady, *lucky]), TASKS, "standard")
    assert kept["value"].tolist() == [0.5, 0.5, 0.5]


def facts(row):
    return (row.score and (row.score.point, row.score.interval()), row.patterns.keys())


@settings(max_examples=15)
@given(st.lists(st.sampled_from(ENTRIES), unique=True, max_size=4), st.floats(-0.5, 1.5))
def test_adding_an_entry_changes_no_other_score(others, place):
    before = board_of(made_board(dict.fromkeys(others, 0.6)))
    after = board_of(made_board({**dict.fromkeys(others, 0.6), "nystrom": place}))
    assert after.row("nystrom") is not None
    for row in before.rows:
        assert facts(after.row(row.entry)) == facts(row)
    assert after.band == before.band


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_the_order_of_records_changes_nothing(seed):
    records = made_board({"linear": 0.6, "performer": 0.62, "window": 0.3})

    def shape(board):
        return [(row.entry, row.place, facts(row)) for row in board.rows]

    assert shape(board_of(shuffled(records, seed))) == shape(board_of(records))


@settings(max_examples=15)
@given(st.sets(st.integers(0, 11), max_size=11))
def test_taking_cells_away_lowers_no_score_to_zero_and_loses_no_row(gone):
    mine = [record for record in made_board({"linear": 0.7}) if record.variant.name == "linear"]
    kept = [record for place, record in enumerate(mine) if place not in gone]
    rest = [record for record in made_board() if record.variant.name != "linear"]
    row = board_of([*rest, *kept]).row("linear")
    assert len(mine) == 12
    done = {record.task.name for record in kept}
    assert set(row.coverage.tasks) == done
    whole = board_of([*rest, *mine]).row("linear")
    for task in done:
        full, some = whole.results[task].score.point, row.results[task].score.point
        assert abs(full - some) < 0.06, "a mean over fewer seeds of the same scatter"


def test_a_scale_whose_ends_cannot_be_told_apart_is_none():
    board = board_of([
        *ends("mqar", (0.53, 0.5, 0.5), (0.5, 0.49, 0.51)),
        *ends("mirror"),
        *made("linear", "mqar", (0.8, 0.8, 0.8)),
        *made("linear", "mirror", (0.6, 0.6, 0.6)),
    ])  # fmt: skip
    assert set(board.scales) == {"mirror"}
    assert "is not significantly better than the controls" in board.left_out["mqar"]
    assert board.row("linear").score.point == pytest.approx(0.25)


def test_failed_seeds_are_counted_and_a_pattern_of_failures_is_no_pattern_not_offered():
    records = [
        *ends("mqar"),
        *ends("mirror"),
        *made("linear", "mqar", (0.8, 0.8, 0.8)),
        *made("linear", "mirror", (0.0, 0.0), status="diverged"),
    ]
    row = board_of(records).row("linear")
    assert row.failures == 2
    assert row.failed(Pattern.NS, TASKS)
    assert not row.failed(Pattern.CS, TASKS)
    assert not row.failed(Pattern.CC, TASKS)


def test_each_pattern_has_a_noise_band_of_its_own():
    records = [
        *ends("mqar"),
        *ends("mirror"),
        *made("sdpa", "mqar", (0.9, 0.88, 0.92)),
        *made("sdpa", "mirror", (0.9, 0.9, 0.9)),
    ]
    board = board_of(records)
    wide, narrow = (board.pattern_bands[p] for p in (Pattern.CS, Pattern.NS))
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)
    assert Pattern.CC not in board.pattern_bands
