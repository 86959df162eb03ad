"""Gates of feature maps have a board of their own."""

from pathlib import Path

import pytest
from made_records import COUNTING, made_board
from site_support import gates, results_of

from cab.scores.rank_sets import RankSet
from cab.site.build import build_site
from cab.site.content import gather
from cab.site.gates import feature_maps


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return results_of(tmp_path, [*made_board({"linear": 0.5}, tasks=COUNTING), *gates()])


def test_gains_are_over_the_network_without_a_gate_and_ranked_where_both_tasks_ran(results: Path):
    content = gather(results)
    shown = feature_maps(content, content.profiles[0])
    assert [card.name for card in shown["cards"]] == ["digits-residual", "keywords-residual"]
    rows = {one.row.entry: one for one in shown["gates"]}
    assert list(rows) == ["se", "eca", "cbam", "none"]
    assert rows["se"].gains["digits-residual"].point == pytest.approx(0.05)
    assert rows["se"].gain.point == pytest.approx((0.05 + 0.10) / 2)
    assert rows["eca"].gain.point == pytest.approx((0.0 + 0.01 / 3) / 2)
    assert rows["cbam"].gains["digits-residual"].point == pytest.approx(0.03)
    assert rows["cbam"].gain is None
    assert not rows["none"].gains
    assert {name: one.ranks for name, one in rows.items()} == {
        "se": RankSet(1, 1),
        "eca": RankSet(2, 2),
        "cbam": None,
        "none": None,
    }
    assert rows["cbam"].unranked == "results on 1 of 2 tasks"


def test_they_stand_on_their_page_and_have_no_score_on_the_board(results: Path, tmp_path: Path):
    build_site(results, tmp_path / "site")
    page = (tmp_path / "site" / "feature-maps.html").read_text()
    assert ">se</a>" in page
    assert "+0.075" in page
    board = (tmp_path / "site" / "index.html").read_text()
    assert 'data-entry="linear"' in board
    assert 'data-entry="se"' not in board
