"""The board: hand-computed scores, and the laws that every board obeys."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import (
    COUNTING,
    TASKS,
    VARIANTS,
    board_of,
    ends,
    made,
    made_board,
    shuffled,
)

from cab.registry import discover_tasks
from cab.scores.board import make_board
from cab.scores.normalise import Scale, floor_of, scale_of
from cab.scores.table import records_table
from cab.taxonomy import Certificate, Pattern

ENTRIES = ("linear", "performer", "window", "abc", "cosformer")


def test_scores_are_means_over_tasks_of_places_between_floor_and_best_value():
    # The floors at two levels are .3 and .1, so f = .2; both metrics are at most 1, so c = 1.
    # mqar: (.5 - .2) / .8 = .375; mirror: (.8 - .2) / .8 = .75; their mean is .5625.
    records = [*made("linear", "mqar", (0.4, 0.5, 0.6)), *made("linear", "mirror", (0.8,) * 3)]
    linear = board_of(records).row("linear")
    assert linear.patterns[Pattern.CS].point == pytest.approx(0.375)
    assert linear.patterns[Pattern.NS].point == pytest.approx(0.75)
    assert linear.score.point == pytest.approx(0.5625)
    assert str(linear.coverage) == "2/4 patterns, 2/4 tasks"
    # mirror does not scatter: the interval is that of mqar's half. The standard deviation over
    # its seeds is .1 / .8 = .125, that of the mean .125 / sqrt(3), its half .0360844; Student's
    # quantile at 2 degrees is 4.30265.
    interval = linear.score.interval()
    assert interval.high - 0.5625 == pytest.approx(4.30265 * 0.0360844, rel=1e-5)
    assert linear.results["mqar"].deviation == pytest.approx(0.125)


def test_softmax_has_the_score_that_it_has():
    board = board_of(ends("mqar", softmax=(0.9, 0.9, 0.9), none=(0.1, 0.1, 0.1)))
    assert board.row("softmax").score.point == pytest.approx(0.875)
    assert board.row("none").score.point == pytest.approx(-0.125)
    assert board.reference is board.row("softmax")
    linear = board_of([*ends("mqar"), *made("linear", "mqar", (0.5,) * 3)])
    assert linear.reference_on(linear.row("linear")) == pytest.approx(0.875)
    elsewhere = board_of([*ends("mqar"), *made("linear", "mirror", (0.5,) * 3)])
    assert elsewhere.reference_on(elsewhere.row("linear")) is None


def test_a_board_needs_no_reference():
    board = board_of(made("linear", "mqar", (0.6,) * 3))
    assert board.row("linear").score.point == pytest.approx(0.5)
    assert board.reference is None


def card_with(**fields):
    certificate = Certificate(0.1, 3, **fields.pop("certificate"))
    return replace(TASKS["mqar"], certificate={"quick": certificate}, **fields)


def test_the_floor_of_an_old_certificate_is_its_best_control_or_chance():
    measured = {"softmax": 0.99, "rwkv7": 1.0, "none": 0.02, "mean": 0.3, "window (window=8)": 0.6}
    card = card_with(certificate={"measured": measured}, chance=0.1, solvers={"rwkv7": {}})
    assert floor_of(card, "quick", "softmax") == 0.6
    assert scale_of(card, "quick", "softmax") == Scale(0.6, 1.0)
    # A solver that is not said to be one is a control, and so is one with other settings.
    assert floor_of(replace(card, solvers={}), "quick", "softmax") == 1.0
    guessed = card_with(certificate={"measured": {"softmax": 0.9, "none": 0.02}}, chance=0.1)
    assert floor_of(guessed, "quick", "softmax") == 0.1
    with pytest.raises(ValueError, match="no floor and no control"):
        floor_of(
            card_with(certificate={"measured": {"softmax": 1}}, chance=None), "quick", "softmax"
        )


def test_floors_by_level_are_averaged_and_need_no_chance():
    card = card_with(certificate={"measured": {"softmax": 1.0, "mean": 0.9}, "floors": (0.5, 0.1)})
    assert scale_of(card, "quick", "softmax") == Scale(pytest.approx(0.3), 1.0)


def test_a_task_without_a_scale_says_why():
    fine = {"measured": {"softmax": 1.0}, "floors": (0.2,)}
    for reason, card in {
        "diagnostic: no certificate in this profile": card_with(certificate={"measured": {}}),
        "diagnostic: not scored in this profile": card_with(
            certificate=fine, diagnostic=("quick",)
        ),
        "diagnostic: its metric, bits_per_byte, has no best value": card_with(
            certificate=fine, metric="bits_per_byte", higher_is_better=False
        ),
        "diagnostic: its metric, psnr, has no best value": card_with(
            certificate=fine, metric="psnr"
        ),
        "diagnostic: its floor, 1, is not worse than the best value, 1": card_with(
            certificate=fine | {"floors": (1.0,)}
        ),
    }.items():
        assert scale_of(card, "quick", "softmax") == reason
        board = make_board(records_table(ends("mqar")), "quick", {"mqar": card}, VARIANTS)
        assert board.left_out == {"mqar": reason}
        assert board.scales == {}
        assert {row.score for row in board.rows} == {None}
        assert {str(row.coverage) for row in board.rows} == {"not scored"}


def test_lower_is_better_where_the_metric_says_so():
    # The floor is .8 and the best value 0: (.8 - .2) / .8 = .75.
    card = card_with(
        certificate={"measured": {"softmax": 0.0}, "floors": (0.8,)}, higher_is_better=False
    )
    table = records_table(made("linear", "mqar", (0.2, 0.2)))
    row = make_board(table, "quick", {"mqar": card}, VARIANTS).row("linear")
    assert row.score.point == pytest.approx(0.75)
    assert row.score.reach.high == pytest.approx(1)


def test_a_missing_cell_is_not_zero_and_does_not_disappear():
    records = [
        *made("linear", "mqar", (0.8, 0.8, 0.8)),
        *made("linear", "mirror", (0.0, 0.0), status="oom"),
    ]
    row = board_of(records).row("linear")
    assert row.score.point == pytest.approx(0.75)
    assert str(row.coverage) == "1/4 patterns, 1/4 tasks"
    assert row.results["mirror"].outcomes == {"oom": 2}
    assert row.results["mirror"].score is None
    assert row.failures == 2
    assert row.failed(Pattern.NS, TASKS)
    assert not row.failed(Pattern.CS, TASKS)
    assert not row.failed(Pattern.CC, TASKS)


def test_an_entry_with_nothing_scored_stays_on_the_board_without_a_score():
    row = board_of(made("linear", "mqar", (0.0,), status="diverged")).row("linear")
    assert (row.score, row.ranks) == (None, None)
    assert row.results["mqar"].outcomes == {"diverged": 1}


def test_an_empty_table_gives_an_empty_board():
    board = board_of([])
    assert board.rows == ()
    assert set(board.scales) == set(COUNTING)


def test_another_implementation_of_an_entry_is_shown_and_not_ranked():
    names = ("linear", "gla", "lasp2")
    records = [r for name in names for r in made(name, "mqar", (0.6, 0.62, 0.64))]
    board = board_of(records)
    assert board.row("linear").ranks is not None
    assert board.row("lasp2").ranks is None
    assert board.row("lasp2").score.point == board.row("linear").score.point
    assert board.row("lasp2").role_words == "equivalent"


def test_seeds_that_stay_on_the_plateau_are_counted_on_validation():
    # A tenth of the scale is .2 + .08 = .28.
    records = [
        *made("linear", "mqar", (0.9, 0.2), valid=0.29),
        *made("linear", "mqar", (0.9,), valid=0.27, first=2),
    ]
    row = board_of(records).row("linear")
    assert row.results["mqar"].left_plateau == 2
    assert row.plateau == (2, 3)
    assert row.marks == ("1/3 on the plateau",)


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
        *made("linear", "mqar", (0.9, 0.9, 0.9), source="b" * 64, minutes=1),
        *made("linear", "mqar", (0.6,), source="c" * 64, minutes=2),
    ]
    row = board_of(records).row("linear")
    assert row.source == "c" * 64
    assert row.results["mqar"].values == {0: 0.6}


def facts(row):
    score = row.score and (row.score.point, row.score.interval(), row.score.interval(tasks=True))
    return score, row.patterns.keys(), {name: one.score for name, one in row.results.items()}


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(ENTRIES), unique=True, max_size=4),
    st.floats(-0.5, 1.5),
    st.sampled_from(["nystrom", "softmax", "none", "mean", "sdpa"]),
)
def test_adding_or_removing_an_entry_changes_no_other_score(others, place, newcomer):
    records = made_board({**dict.fromkeys(others, 0.6), "nystrom": place})
    without = [record for record in records if record.variant.name != newcomer]
    before, after = board_of(without), board_of(records)
    assert after.row(newcomer) is not None
    assert before.scales == after.scales
    for row in before.rows:
        assert facts(after.row(row.entry)) == facts(row)


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_the_order_of_records_changes_nothing(seed):
    records = made_board({"linear": 0.6, "performer": 0.62, "window": 0.3})

    def shape(board):
        return [(row.entry, row.ranks, row.ranks_in, facts(row)) for row in board.rows]

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


def test_every_certified_task_has_a_scale_or_a_metric_that_has_none():
    for card in discover_tasks().cards():
        found = scale_of(card, "quick", "softmax")
        if card.scored_in("quick") and not isinstance(found, Scale):
            assert "has no best value" in found, card.name
