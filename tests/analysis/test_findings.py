"""The sentences about the published board, against numbers that are computed another way."""

import json
import re
import statistics
import sys
from collections import defaultdict
from typing import Any

import pytest
from scipy import stats
from support import REPOSITORY, VARIANTS

from cab.analysis.findings import LARGE, findings
from cab.scores.board import make_board
from cab.scores.rows import RANKED_ROLES
from cab.site.content import Content, gather
from cab.site.findings import RECALL, findings_of, judged

sys.path.insert(0, str(REPOSITORY / "tests" / "golden"))
from recompute import chosen_rate, rate_of, recompute

ROLES = {card.name: card.role for card in VARIANTS.cards()}
RANKED = {name for name, role in ROLES.items() if role in RANKED_ROLES}


@pytest.fixture(scope="module")
def content() -> Content:
    return gather(REPOSITORY / "results")


@pytest.fixture(scope="module")
def said(content: Content) -> list[str]:
    return findings_of(content, content.profiles[0])


@pytest.fixture(scope="module")
def cells(content: Content) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The records of each ranked entry on each scored task, as the files hold them."""
    found = defaultdict(list)
    for path in sorted((REPOSITORY / "results" / "quick").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            cell = json.loads(line)
            scored = cell["task"]["name"] in content.profiles[0].board.scales
            if scored and cell["variant"]["name"] in RANKED:
                found[cell["variant"]["name"], cell["task"]["name"]].append(cell)
    return found


def test_there_are_at_most_eight_sentences(said: list[str]) -> None:
    assert 5 <= len(said) <= 8
    assert all(one.endswith(".") for one in said)


def test_leaders_and_their_scores_are_those_of_an_independent_computation(
    said: list[str],
) -> None:
    entries = recompute(REPOSITORY / "results", ROLES)["entries"]
    for pattern in ("ns", "cs", "nc", "cc"):
        places = {
            name: one["pattern_ranks"][pattern]
            for name, one in entries.items()
            if pattern in one["pattern_ranks"]
        }
        if len(places) < 3:
            continue
        (sentence,) = (one for one in said if f"-attention ({pattern})" in one)
        assert sentence.startswith(f"Of {len(places)} ranked entries")
        leading, _, _ = sentence.partition(";")
        named = dict(re.findall(r"([a-z0-9-]+) \((-?\d\.\d\d \[.*?\])\)", leading))
        assert named.keys() == {name for name, ranks in places.items() if ranks[0] == 1}
        for name, text in named.items():
            point, (low, high) = entries[name]["patterns"][pattern]
            assert text == f"{point:.2f} [{low:.2f}, {high:.2f}]"


def test_the_numbers_about_rates_are_those_of_the_files(
    content: Content,
    said: list[str],
    cells: dict[tuple[str, str], list[dict[str, Any]]],
) -> None:
    scales, changes = content.profiles[0].board.scales, []
    for (_, task), own in cells.items():
        tested = [
            statistics.fmean(at["test"]["value"] for at in cell["metrics"]["levels"])
            for cell in own
            if cell["seed"] == 0 and cell["status"] == "ok"
        ]
        changes.append((max(tested) - min(tested)) / (scales[task].top - scales[task].floor))
    median, large = statistics.median(changes), sum(one > LARGE for one in changes)
    (sentence,) = (one for one in said if "learning rate tried" in one)
    assert f"by {median:.2f} in the median of {len(changes)} pairs" in sentence
    assert f"by more than 0.3 in {large};" in sentence
    assert f"(by {max(changes):.2f})" in sentence


def test_what_beats_softmax_is_what_welch_and_holm_say(
    said: list[str], cells: dict[tuple[str, str], list[dict[str, Any]]]
) -> None:
    values = {}
    for pair, own in cells.items():
        rate, settled = chosen_rate(own)
        assert settled
        values[pair] = [
            statistics.fmean(at["test"]["value"] for at in cell["metrics"]["levels"])
            for cell in own
            if rate_of(cell) == rate
        ]
    p_values, ahead = {}, {}
    for (entry, task), mine in values.items():
        if entry == "softmax":
            continue
        theirs = values["softmax", task]
        ahead[entry, task] = statistics.fmean(mine) > statistics.fmean(theirs)
        alike = statistics.pvariance(mine) + statistics.pvariance(theirs) == 0
        same = statistics.fmean(mine) == statistics.fmean(theirs)
        p_values[entry, task] = (
            float(same) if alike else stats.ttest_ind(mine, theirs, equal_var=False).pvalue
        )
    corrected = dict(zip(p_values, _holm(list(p_values.values())), strict=True))
    better = sum(p < 0.05 and ahead[pair] for pair, p in corrected.items())
    worse = sum(p < 0.05 and not ahead[pair] for pair, p in corrected.items())
    (sentence,) = (one for one in said if "significantly worse" in one)
    if better:
        assert sentence.startswith(f"Of {len(corrected)} pairs of entry and task, {better} ")
        assert f"and {worse} significantly worse." in sentence
    else:
        assert sentence == (
            f"No entry is significantly better than softmax on any task; {worse} of "
            f"{len(corrected)} pairs of entry and task are significantly worse."
        )


def _holm(p_values: list[float]) -> list[float]:
    return [
        max(
            min(1.0, (len(p_values) - sum(two < one for two in p_values)) * one)
            for one in p_values
            if one <= p
        )
        for p in p_values
    ]


def test_other_results_give_other_sentences(content: Content) -> None:
    """Linear attention solves parity, and window attention recalls better than deltanet."""
    one = content.profiles[0]
    table = one.cells.copy()

    def place(entry: str, task: str, value: float) -> None:
        own = (table["entry"] == entry) & (table["task"] == task)
        assert own.any()
        table.loc[own, "value"] = value + 0.001 * table.loc[own, "seed"]

    place("softmax", "parity", 0.5)
    place("linear", "parity", 0.95)
    for task in ("mqar", "recall-latest"):
        place("window", task, 0.95)
        place("deltanet", task, 0.6)
    board = make_board(table, one.profile, content.tasks, content.variants)
    sentences = findings(board, content.tasks, judged(content, one).components, RECALL)
    (beaten,) = (text for text in sentences if "pairs of entry and task" in text)
    assert "linear on parity (by " in beaten
    (order,) = (text for text in sentences if "Published results order" in text)
    assert "window is better than deltanet by " in order


def test_a_board_without_results_says_nothing(content: Content) -> None:
    one = content.profiles[0]
    board = make_board(one.cells.head(0), one.profile, content.tasks, content.variants)
    assert findings(board, content.tasks, {}, RECALL) == []
