"""No interval that is printed or drawn reaches beyond what its metric can be."""

import csv
import io
import json
import math
import re

import pytest
from cli_support import cab_here
from made_records import (
    REGISTERED,
    board_of,
    made,
    made_board,
    made_entry,
    own_tasks_scored,
)

from cab.records.store import RecordStore
from cab.scores.analyses import gain
from cab.scores.comparison import compare
from cab.scores.estimates import ANYWHERE, Interval, mean_over_seeds, mean_over_tasks, weighted
from cab.scores.ranges import RANGES, best_value, metric_range
from cab.scores.report import to_csv, to_json, to_latex, to_markdown

PATTERNS = {name: card.pattern for name, card in REGISTERED.items()}
WIDE = (1.0, 0.4, 0.9)
"""Seeds whose interval would end far above 1."""


@pytest.fixture(scope="module")
def published():
    """A board with a large entry, seeds that scatter up to the metric's end, and settings."""
    records = [
        *made_board({"linear": 0.5, "gla": 0.8, "deltanet": 0.9}),
        *made("luna", "mirror", WIDE),
        *made("window", "mqar", WIDE, options={"window": 8}),
        *made("mamba2", "mqar", WIDE),
        *made("retention", "mqar", (0.5, 0.51, 0.52)),
    ]
    return board_of(sized(record, 1390) if record.variant.name == "mamba2" else sized(record)
                    for record in records)  # fmt: skip


def sized(record, parameters=1000):
    variant = record.variant.model_copy(update={"parameters": parameters})
    return record.model_copy(update={"variant": variant})


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
    assert cut.interval(tasks=True).high == 1


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
            assert gap.differs_from_zero() == free.differs_from_zero()


def test_a_score_ends_where_the_metric_does():
    # On a scale from .2 to 1, an accuracy of 0 is a score of -.25.
    score = board_of(made("linear", "mqar", WIDE)).row("linear").score
    assert score.interval().high == pytest.approx(1)
    assert score.reach.low == pytest.approx(-0.25)
    # R2 has no lower end.
    score = board_of(made("linear", "regress", (0.1, -0.9, 0.9))).row("linear").score
    assert score.reach == Interval(-math.inf, pytest.approx(1))
    assert score.interval().low < -1.5
    row = board_of(made("linear", "byte-lm", (1.5, 1.2, 1.8))).row("linear")
    assert row.mean("byte-lm").reach == Interval(0, math.inf)


def test_a_comparison_ends_where_two_scores_do():
    records = [
        *made_entry("linear", mqar=(1.0, 0.2, 1.0)),
        *made_entry("performer", mqar=(0.1, 0.1, 0.1)),
    ]
    found = compare(board_of(records), "linear", "performer", PATTERNS)
    (task,) = found.tasks
    # Accuracies of 0 and 1 are 1 / .8 apart on the scale.
    assert task.interval.high == pytest.approx(1.25)
    assert found.overall.interval.high == pytest.approx(1.25)
    assert task.interval.low > -1.25
    back = compare(board_of(records), "performer", "linear", PATTERNS)
    assert back.overall.interval.low == pytest.approx(-1.25)


def test_the_best_value_is_the_end_of_a_bounded_metric():
    assert best_value("accuracy", True) == best_value("r2", True) == 1
    assert best_value("accuracy", False) == 0
    assert best_value("rouge_1", True) == 100
    for unbounded in ("mse", "bits_per_byte", "psnr", "brightness"):
        assert best_value(unbounded, False) is None
        assert best_value(unbounded, True) is None
    assert best_value("r2", False) is None


def test_a_board_holds_its_ranges_in_every_format(published):
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
    assert cut > 2
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
    assert over == {"mamba2": "+39 % size"}
    assert published.row("mamba2").ranks is not None
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


def test_the_leaderboard_in_the_terminal_says_so_too(tmp_path):
    store = RecordStore(tmp_path)
    for record in (*made("softmax", "mqar", (0.9, 0.8, 1.0)), *made("linear", "mqar", WIDE)):
        store.write(sized(record))
    for record in made("mamba2", "mqar", WIDE):
        store.write(sized(record, 1390))
    (tmp_path / "none").mkdir()
    with own_tasks_scored():
        said = cab_here("leaderboard", "--results", tmp_path / "none", "--store", tmp_path)
    assert said.code == 0, said.err
    out = " ".join(said.out.split())
    assert re.search(r"mamba2 .* \+39 % size", out)
    assert "10% more parameters than softmax" in out
    assert "ranked like the others" in out
    highest = [float(high) for high in re.findall(r"\[[-\d.]+, ([-\d.]+)\]", out)]
    assert len(highest) >= 6
    assert max(highest) == 1
