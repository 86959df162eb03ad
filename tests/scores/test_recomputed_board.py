"""The published board is what an independent computation makes of the published files."""

import sys
from typing import Any

import pytest
from cli_support import cab_here
from support import REPOSITORY, VARIANTS

sys.path.insert(0, str(REPOSITORY / "tests" / "golden"))
from recompute import recompute


def close(shown: dict[str, Any] | None, found: Any) -> bool:
    """Whether a score of the leaderboard, in six digits, is the one that was computed again."""
    if shown is None:
        return found is None
    point, around = found
    ends = [shown[name] for name in ("low", "high") if shown[name] is not None]
    return [shown["value"], *ends] == pytest.approx([point, *(around or ())], rel=1e-4, abs=1e-6)


def test_scores_intervals_and_ranks_are_those_of_an_independent_computation() -> None:
    roles = {card.name: card.role for card in VARIANTS.cards()}
    found = recompute(REPOSITORY / "results", roles)["entries"]
    board = cab_here("leaderboard", "--results", REPOSITORY / "results", "--json").document
    assert {row["entry"] for row in board["rows"]} == found.keys()
    for row in board["rows"]:
        own = found[row["entry"]]
        assert close(row["score"], own["score"])
        assert row["patterns"].keys() == own["patterns"].keys()
        assert all(close(one, own["patterns"][name]) for name, one in row["patterns"].items())
        scored = {name: one for name, one in row["tasks"].items() if one["score"] is not None}
        assert scored.keys() == own["tasks"].keys()
        assert all(close(one["score"], own["tasks"][name]) for name, one in scored.items())
        assert row["rank"] == (None if own["rank"] is None else list(own["rank"]))
        assert row["pattern_ranks"] == {n: list(one) for n, one in own["pattern_ranks"].items()}
