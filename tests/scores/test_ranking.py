"""Ranks: who is compared with whom, and who shares a place."""

from made_records import REGISTERED, VARIANTS, board_of, ends, made

from cab.scores.board import Board, make_board
from cab.scores.table import records_table
from cab.scores.ties import Place
from cab.taxonomy import Pattern


def ranks_of(board: Board) -> dict[str, int]:
    return {row.entry: row.place.rank for row in board.rows if row.place}


def test_ranks_are_shared_by_what_cannot_be_told_apart():
    records = [
        *ends("mqar"),
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("performer", "mqar", (0.79, 0.80, 0.81)),
        *made("window", "mqar", (0.60, 0.61, 0.59)),
        *made("abc", "mqar", (0.99, 0.98)),
    ]
    board = board_of(records)
    ranks = {row.entry: row.place and row.place.rank for row in board.rows}
    assert ranks == {
        "linear": 1, "performer": 1, "window": 3, "abc": None, "softmax": None, "none": None,
    }  # fmt: skip
    assert board.row("performer").place.group == ("linear", "performer")
    assert board.row("abc").seeds == 2
    assert board.row("window").places == {Pattern.CS: Place(3, ("window",))}


def test_ranks_speak_of_these_tasks():
    # What other tasks would say is uncertain: on one of these two, both are equally good.
    records = [
        *ends("mqar"),
        *ends("selective-copy"),
        *made("linear", "mqar", (0.80, 0.81, 0.82)),
        *made("linear", "selective-copy", (0.5, 0.5, 0.5)),
        *made("abc", "mqar", (0.30, 0.31, 0.32)),
        *made("abc", "selective-copy", (0.5, 0.5, 0.5)),
    ]
    board = make_board(records_table(records), "quick", REGISTERED, VARIANTS)
    gap = board.row("linear").score.minus(board.row("abc").score)
    assert not gap.interval().leaves_out(0)
    assert ranks_of(board) == {"linear": 1, "abc": 2}


def test_rows_of_different_coverage_are_ranked_together_only_if_asked():
    records = [
        *ends("mqar"),
        *ends("mirror"),
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("linear", "mirror", (0.60, 0.61, 0.59)),
        *made("performer", "mqar", (0.85, 0.86, 0.84)),
        *made("abc", "mqar", (0.70, 0.71, 0.69)),
    ]
    apart, together = board_of(records), board_of(records, together=True)
    # linear has nobody to be compared with.
    assert ranks_of(apart) == {
        "performer": 1,
        "abc": 2,
    }
    assert apart.row("linear").place is None
    assert ranks_of(together) == {
        "performer": 1,
        "linear": 2,
        "abc": 2,
    }
    order = [row.entry for row in apart.rows]
    assert order.index("linear") < order.index("performer")


def test_nothing_is_ranked_on_a_scale_of_one_seed():
    entries = [*made("linear", "mqar", (0.8, 0.8, 0.8)), *made("abc", "mqar", (0.6, 0.6, 0.6))]
    assert not [r for r in board_of([*ends("mqar", (0.9,)), *entries]).rows if r.place]
    ranked = board_of([*ends("mqar"), *entries])
    assert ranks_of(ranked) == {
        "linear": 1,
        "abc": 2,
    }


def test_few_seeds_in_one_pattern_take_no_rank_in_another():
    records = [
        *ends("mqar"),
        *ends("mirror"),
        *made("linear", "mqar", (0.8, 0.81, 0.79)),
        *made("linear", "mirror", (0.6,)),
        *made("abc", "mqar", (0.7, 0.71, 0.69)),
    ]
    board = board_of(records)
    assert board.row("linear").places[Pattern.CS].rank == 1
    assert board.row("abc").places[Pattern.CS].rank == 2


def test_scores_that_print_alike_share_a_rank_though_their_seeds_agree():
    records = [
        *ends("mqar"),
        *made("linear", "mqar", (0.800, 0.800, 0.800)),
        *made("abc", "mqar", (0.801, 0.801, 0.801)),
        *made("performer", "mqar", (0.790, 0.790, 0.790)),
    ]
    ranks = ranks_of(board_of(records))
    assert ranks == {"abc": 1, "linear": 1, "performer": 3}


def test_what_has_no_rank_has_the_reason():
    records = [
        *ends("mqar"),
        *ends("mirror", (0.9, 0.9)),
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("linear", "mirror", (0.60, 0.61, 0.59)),
        *made("performer", "mqar", (0.85, 0.86, 0.84)),
        *made("abc", "mqar", (0.70, 0.71)),
        *made("gla", "mqar", (0.70,)),
        *made("sdpa", "mqar", (0.9, 0.9, 0.9)),
    ]
    rows = {row.entry: row for row in board_of(records).rows}
    assert {entry: row.unranked for entry, row in rows.items()} == {
        "linear": "2 seeds of softmax, a rank needs 3",
        "performer": "the only entry with this coverage and 3 seeds",
        "abc": "2 seeds, a rank needs 3",
        "gla": "1 seed, a rank needs 3",
        "softmax": "", "none": "", "sdpa": "",
    }  # fmt: skip
    assert not [row for row in rows.values() if row.place]
    assert rows["linear"].places.keys() == rows["performer"].places.keys() == {Pattern.CS}
    assert rows["linear"].unranked_in == {Pattern.NS: "2 seeds of softmax, a rank needs 3"}
    assert rows["abc"].unranked_in == {Pattern.CS: "2 seeds, a rank needs 3"}
    together = {row.entry: row for row in board_of(records, together=True).rows}
    assert together["performer"].unranked == "the only entry with 3 seeds"


def test_an_entry_on_a_part_of_a_pattern_has_no_rank_there():
    records = [
        *ends("mqar"),
        *ends("selective-copy"),
        *made("linear", "mqar", (0.80, 0.81, 0.79)),
        *made("abc", "mqar", (0.60, 0.61, 0.59)),
        *made("abc", "selective-copy", (0.60, 0.61, 0.59)),
    ]
    board = make_board(records_table(records), "quick", REGISTERED, VARIANTS)
    assert board.row("linear").unranked_in == {Pattern.CS: "results on 1 of 2 tasks"}
    assert board.row("abc").unranked_in == {
        Pattern.CS: "the only entry with 3 seeds on every task"
    }
    assert board.row("linear").unranked == "the only entry with this coverage"
