"""No interval that is printed or drawn reaches beyond what its metric can be."""

import csv
import io
import json
import math
import re

import pytest
from cli_support import cab_here
from made_records import REGISTERED, VARIANTS, board_of, ends, made, made_entry
from support import REPOSITORY

from cab.commands.boards import load_board
from cab.scores.analyses import gain
from cab.scores.drawn import ANYWHERE, Interval, mean_over_seeds, mean_over_tasks, weighted
from cab.scores.paired import compare
from cab.scores.ranges import RANGES, metric_range
from cab.scores.report import to_csv, to_json, to_latex, to_markdown

WIDE = (1.0, 0.4, 0.9)
"""Seeds whose interval would end far above 1."""


@pytest.fixture(scope="module")
def published():
    return load_board(REPOSITORY / "results", None, "quick")[0]


def test_every_metric_of_a_task_has_its_range():
    assert {card.metric for card in REGISTERED.values()} <= RANGES.keys()
    for card in REGISTERED.values():
        reach = metric_range(card.metric)
        assert reach.low < reach.high
        if card.chance is not None:
            assert not reach.leaves_out(card.chance), card.name


def test_a_filter_of_a_harness_changes_no_range_and_an_unknown_metric_has_none():
    assert metric_range("exact_match (strict-match)") == Interval(0.0, 1.0)
    assert metric_range("r2").high == 1
    assert metric_range("brightness") == ANYWHERE


def test_an_accuracy_ends_at_one_and_keeps_its_other_end():
    high = (1.0, 0.7, 0.95)
    free, cut = mean_over_seeds("t", "x", high), mean_over_seeds("t", "x", high, Interval(0, 1))
    assert free.interval().high > 1.1
    assert cut.interval().high == 1
    assert cut.interval().low == free.interval().low
    assert cut.interval(tasks=False).high == 1


def test_a_point_beyond_the_range_keeps_its_interval_around_it():
    one = mean_over_seeds("t", "x", (1.2, 1.3, 1.25), Interval(0, 1))
    assert one.interval().low < 1.25 == pytest.approx(one.interval().high)


def test_means_and_differences_reach_as_far_as_their_parts():
    one = mean_over_seeds("a", "x", WIDE, Interval(0, 1))
    other = mean_over_seeds("b", "x", (0.1, 0.0, 0.4), Interval(0, 1))
    assert one.minus(other).reach == Interval(-1, 1)
    assert gain(one, other, True).interval().high <= 1
    assert gain(one, other, False).interval().low >= -1
    loss = mean_over_seeds("c", "x", (0.1, 0.0, 0.4), Interval(0, math.inf))
    assert loss.minus(one).reach == Interval(-1, math.inf)
    assert mean_over_tasks("ns", {"a": one, "b": other}).reach == Interval(0, 1)
    assert weighted([(0.5, one), (-0.5, loss)], 0.0).reach == Interval(-math.inf, 0.5)


def test_cutting_changes_no_verdict():
    for values in (WIDE, (0.9, 0.95, 1.0), (0.6, 0.61, 0.6), (0.3, 0.9, 0.5)):
        one = mean_over_seeds("t", "x", values, Interval(0, 1))
        for others in (WIDE, (0.2, 0.25, 0.2), (0.6, 0.2, 0.9)):
            gap = one.minus(mean_over_seeds("t", "y", others, Interval(0, 1)))
            free = mean_over_seeds("t", "x", values).minus(mean_over_seeds("t", "y", others))
            assert gap.told_from_zero() == free.told_from_zero()


def test_a_score_ends_where_the_metric_does_on_the_measured_scale():
    # Softmax is right in 9 of 10, no attention in 5 of 10: a score is at most 1.25.
    board = board_of([*ends("mqar"), *made("linear", "mqar", WIDE)])
    score = board.row("linear").score
    assert score.interval().high == pytest.approx((1 - 0.5) / (0.9 - 0.5))
    assert score.reach.low == pytest.approx((0 - 0.5) / (0.9 - 0.5))
    # R2 has no lower end; a loss has an upper end on the scale, where it would be 0.
    board = board_of([*ends("regress"), *made("linear", "regress", (0.1, -0.9, 0.9))])
    assert board.row("linear").score.reach.low == -math.inf
    assert board.row("linear").score.interval().low < -1.5
    board = board_of(
        [*ends("byte-lm", (1.0,) * 3, (2.0,) * 3), *made("linear", "byte-lm", (1.5, 1.2, 1.8))]
    )
    assert board.row("linear").mean("byte-lm").reach == Interval(0, math.inf)


def test_a_comparison_ends_where_two_scores_do():
    records = [
        *ends("mqar", (1.0,) * 3, (0.0,) * 3),
        *made_entry("linear", mqar=(1.0, 0.2, 1.0)),
        *made_entry("performer", mqar=(0.1, 0.1, 0.1)),
    ]
    found = compare(board_of(records), "linear", "performer", {"mqar": "cs"})
    (task,) = found.tasks
    # Chance is the floor; from it to 1 is a score of 1.
    widest = 1 / (1 - REGISTERED["mqar"].chance)
    assert task.interval.high == pytest.approx(widest)
    assert found.interval.high == pytest.approx(widest)
    assert task.interval.low > -widest
    back = compare(board_of(records), "performer", "linear", {"mqar": "cs"})
    assert back.interval.low == pytest.approx(-widest)


def test_the_published_board_holds_its_ranges_in_every_format(published):
    document = json.loads(to_json(published))
    limits = {}
    for task, scale in document["tasks"].items():
        reach = metric_range(REGISTERED[task].metric)
        span = scale["at_1"] - scale["at_0"]
        limits[task] = sorted((end - scale["at_0"]) / span for end in (reach.low, reach.high))
    cut = 0
    for line in csv.DictReader(io.StringIO(to_csv(published))):
        if line["task_score_low"]:
            low, high = limits[line["task"]]
            assert float(line["task_score_low"]) >= low - 1e-4, line
            assert float(line["task_score_high"]) <= high + 1e-4, line
            cut += abs(float(line["task_score_high"]) - high) < 1e-4
    assert cut > 10
    for row in document["rows"]:
        if row["score"] is None:
            continue
        by_pattern = {
            pattern: [limits[task][1] for task, one in row["tasks"].items()
                      if one["score"] and REGISTERED[task].pattern == pattern]
            for pattern in row["patterns"]
        }  # fmt: skip
        highest = [sum(ends) / len(ends) for ends in by_pattern.values()]
        top = sum(highest) / len(highest)
        assert row["score"]["high"] <= top + 1e-4, row["entry"]
        for text in (to_markdown(published), to_latex(published)):
            (said,) = [one for one in text.splitlines() if re.search(
                rf"[|&] (\*|\\emph{{)?{re.escape(row['entry'])}[ }}*(]", one)]  # fmt: skip
            assert float(re.search(r"\[[-\d.]+, ([-\d.]+)\]", said).group(1)) <= top + 0.006


def test_sizes_are_marked_in_every_format_and_ranked(published):
    over = {row.entry: row.size_mark for row in published.rows if row.size_mark}
    assert over["mamba2"] == "+39 % size"
    assert published.row("mamba2").place is not None
    assert not published.row("linear").size_mark
    for text, percent in ((to_markdown(published), "%"), (to_latex(published), r"\%")):
        for entry, said in over.items():
            assert f"{entry} ({said.replace('%', percent)})" in text
    rows = {row["entry"]: row for row in json.loads(to_json(published))["rows"]}
    assert rows["mamba2"]["size"] == pytest.approx(1.39, abs=0.005)
    sizes = {
        line["entry"]: line["size"] for line in csv.DictReader(io.StringIO(to_csv(published)))
    }
    assert float(sizes["mamba2"]) == rows["mamba2"]["size"]
    assert {name for name in over if VARIANTS[name].role != "entry"} == set()


def test_the_leaderboard_in_the_terminal_says_so_too():
    said = cab_here("leaderboard", "--results", REPOSITORY / "results", "--pattern", "cs")
    assert said.code == 0
    out = " ".join(said.out.split())
    assert "mamba2 +39 % size" in out
    assert "is marked with its size, and is ranked" in out
    highest = [float(high) for high in re.findall(r"\[[-\d.]+, ([-\d.]+)\]", out)]
    assert len(highest) > 10
    assert max(highest) < 1.1
