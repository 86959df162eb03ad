"""Learning rates in rows and on the board: which one counts, and what is a trial."""

from datetime import timedelta

import pytest
from made_records import board_of, made

from cab.records.rates import at_best_rate, recipe_at_any_rate
from cab.scores.board import Board
from cab.scores.rates import Tried
from cab.scores.report import document
from cab.scores.summary import summarise

LOW, MIDDLE, HIGH = RATES = (1e-3, 2e-3, 4e-3)


def at(rate, *values, **fields):
    """Records of linear on mqar at one of three rates."""
    return made("linear", "mqar", values, rate=rate, rates=RATES, **fields)


WHOLE = [
    *at(LOW, 0.50, valid=0.55),
    *at(MIDDLE, 0.70, valid=0.69),
    *at(HIGH, 0.90, valid=0.60),  # better on test, which decides nothing
    *at(MIDDLE, 0.72, 0.74, first=1, valid=0.70),
]


def result_of(records) -> tuple[Board, object]:
    board = board_of(records)
    return board, board.row("linear").results["mqar"]


def test_records_at_other_rates_are_no_seeds_of_the_row():
    board, one = result_of(WHOLE)
    assert one.values == {0: 0.70, 1: 0.72, 2: 0.74}
    assert one.outcomes == {"ok": 3}
    assert one.tuning.rate == MIDDLE
    assert one.tuning.tried == (
        Tried(LOW, "ok", 0.55, 0.50),
        Tried(MIDDLE, "ok", 0.69, 0.70),
        Tried(HIGH, "ok", 0.60, 0.90),
    )
    # The best minus the worst on test: .90 - .50.
    assert one.tuning.sensitivity == pytest.approx(0.4)
    assert (one.trial, one.failures) == ("", 0)
    assert board.row("linear").marks == ()


def test_rows_of_cab_show_say_the_same():
    (row,) = summarise(WHOLE)
    _, one = result_of(WHOLE)
    assert row.mean == pytest.approx(0.72)
    assert (row.seeds, row.rate, row.rates) == (3, MIDDLE, one.tuning.tried)
    assert row.sensitivity == pytest.approx(0.4)
    assert row.trial == ""


def test_results_of_a_recipe_edited_under_one_version_are_not_averaged_with_those_of_before():
    def with_steps(record, steps):
        train = {**record.settings.recipe["train"], "steps": steps}
        recipe = {**record.settings.recipe, "train": train}
        return record.model_copy(
            update={"settings": record.settings.model_copy(update={"recipe": recipe})}
        )

    before = [with_steps(one, 7) for one in at(MIDDLE, 0.1, 0.2, 0.3, 0.4)]
    later = max(one.provenance.ended for one in before) + timedelta(hours=1)
    now = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"ended": later})})
        for one in WHOLE
    ]
    (row,) = summarise([*before, *now])
    assert (row.seeds, row.mean) == (3, pytest.approx(0.72))
    (row,) = summarise([*now, *before])
    assert (row.seeds, row.mean) == (3, pytest.approx(0.72))


def test_the_json_of_the_board_holds_every_rate():
    (row,) = document(board_of(WHOLE))["rows"]
    task = row["tasks"]["mqar"]
    assert task["rate"] == MIDDLE
    assert task["rates"][2] == {"rate": HIGH, "status": "ok", "valid": 0.6, "test": 0.9}
    assert task["rate_sensitivity"] == pytest.approx(0.4)
    assert task["left_plateau"] == 1
    # Standard deviation .02 on a scale of .8.
    assert task["deviation"] == pytest.approx(0.025)
    assert (row["left_plateau"], row["failed"], row["trial"]) == (1, 0, None)


def test_an_entry_whose_rates_are_not_all_there_is_a_trial_of_the_best_so_far():
    records = [one for one in WHOLE if one.settings.recipe["train"]["learning_rate"] != LOW]
    board, one = result_of([*records, *made("abc", "mqar", (0.5, 0.51, 0.52))])
    assert one.trial == "not all learning rates were tried"
    assert one.values == {0: 0.70, 1: 0.72, 2: 0.74}
    row = board.row("linear")
    assert row.marks == ("trial",)
    assert row.unranked == "trial: not all learning rates were tried"
    assert row.ranks is None
    # Its score is higher; it stands below the complete entry all the same.
    assert [found.entry for found in board.rows] == ["abc", "linear"]


def test_a_single_rate_by_hand_is_a_trial():
    _, one = result_of(at(HIGH, 0.9, 0.91, 0.92))
    assert one.trial == "not all learning rates were tried"
    assert one.values == {0: 0.9, 1: 0.91, 2: 0.92}


def test_an_entry_with_the_search_alone_is_a_trial():
    _, one = result_of(WHOLE[:3])
    assert one.values == {0: 0.70}
    assert one.trial == "1 seed, a rank needs 3"


def test_a_rate_that_diverged_is_evidence_and_no_failed_seed():
    records = [*WHOLE[:2], *at(HIGH, 0.0, status="diverged"), *WHOLE[3:]]
    board, one = result_of(records)
    assert one.tuning.tried[2] == Tried(HIGH, "diverged", None, None)
    assert one.tuning.sensitivity == pytest.approx(0.2)
    assert (one.failures, one.trial) == (0, "")
    assert board.row("linear").marks == ()


def test_a_failed_seed_at_the_chosen_rate_is_marked_and_not_ranked():
    records = [*WHOLE[:4], *at(MIDDLE, 0.0, first=2, status="timeout")]
    board, one = result_of([*records, *made("abc", "mqar", (0.5, 0.51, 0.52))])
    assert one.values == {0: 0.70, 1: 0.72}
    assert one.outcomes == {"ok": 2, "timeout": 1}
    assert one.trial == ""
    row = board.row("linear")
    assert row.marks == ("1 failed",)
    assert (row.ranks, row.unranked) == (None, "1 failed seed")
    assert [found.entry for found in board.rows] == ["abc", "linear"]


def test_where_every_rate_failed_there_is_no_score_and_no_trial():
    records = [one for rate in RATES for one in at(rate, 0.0, status="diverged")]
    board, one = result_of(records)
    assert one.tuning.settled
    assert (one.mean, one.failures) == (None, 1)
    assert board.row("linear").score is None


def test_a_rate_that_ended_in_error_leaves_the_choice_open():
    records = [*WHOLE[:2], *at(HIGH, 0.0, status="error"), *WHOLE[3:]]
    _, one = result_of(records)
    assert one.trial == "not all learning rates were tried"
    assert one.tuning.rate == MIDDLE


def test_the_best_so_far_is_that_of_validation_or_of_most_records():
    chosen = at_best_rate([*at(LOW, 0.9, valid=0.4), *at(HIGH, 0.1, valid=0.5)])
    assert [one.metrics.test["accuracy"].value for one in chosen] == [0.1]
    later = [*at(LOW, 0.9, first=1), *at(HIGH, 0.1, 0.2, first=1)]
    chosen = at_best_rate(later)
    assert [one.seed for one in chosen] == [1, 2]


def test_cells_of_one_search_have_a_recipe_in_common():
    assert len({str(recipe_at_any_rate(one)) for one in WHOLE}) == 1
    (alone,) = made("linear", "mqar", (0.5,), rate=1e-3)
    (other,) = made("linear", "mqar", (0.5,), rate=2e-3)
    assert recipe_at_any_rate(alone) != recipe_at_any_rate(other)
    assert recipe_at_any_rate(alone) == alone.settings.recipe
