"""State tracking: levels and settings as the published records hold them."""

import json
from pathlib import Path
from unittest import mock

import pytest
from made_records import made
from site_support import results_of
from support import REPOSITORY

from cab.records.store import AtLevel, Estimate
from cab.registry import discover_tasks
from cab.site.build import build_site
from cab.site.content import gather
from cab.site.state_tracking import state_tracking, transition

PUBLISHED = REPOSITORY / "results"


def test_the_levels_are_those_of_the_published_lines() -> None:
    with mock.patch("cab.site.content.discover_tasks", discover_tasks):
        content = gather(PUBLISHED)
    (shown,) = state_tracking(content, content.profiles[0])["tracking"]
    assert shown["card"].name == "parity"
    rows = {row.entry: row for row in shown["rows"]}
    assert {"softmax", "deltanet", "none"} <= rows.keys()
    assert rows["deltanet"].transition == "0 to 1"
    assert rows["softmax"].transition == ""
    last = [row.levels[-1].point for row in shown["rows"]]
    assert last == sorted(last, reverse=True)
    for row in shown["rows"]:
        text = (PUBLISHED / "quick" / f"{row.variant}.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        own = [one for one in lines if one["task"]["name"] == "parity" and one["status"] == "ok"]
        rates = [one["settings"]["recipe"]["train"]["learning_rate"] for one in own]
        rate = max(set(rates), key=rates.count)
        own = [one for one, used in zip(own, rates, strict=True) if used == rate]
        assert row.seeds == len(own) == 3
        assert [level["name"] for level in own[0]["metrics"]["levels"]] == shown["names"]
        for place, mean in enumerate(row.levels):
            values = [one["metrics"]["levels"][place]["test"]["value"] for one in own]
            assert mean.point == pytest.approx(sum(values) / 3)


def test_what_settings_say_of_the_transition() -> None:
    assert transition({"negative": True}) == "-1 to 1"
    assert transition({"negative": False, "steps": 1}) == "0 to 1"
    assert transition({"negative": True, "steps": 3}) == "-1 to 1, 3 steps a token"
    assert transition({"steps": 3}) == transition({"negative": "x"}) == transition({}) == ""


def with_levels(variant: str, hardest: float, **config):
    found = []
    for record in made(variant, "parity", (0.5, 0.5, 0.5)):
        levels = tuple(
            AtLevel(level=number, name=f"length {number}", valid=one, test=one)
            for number, value in enumerate((1.0, hardest + 0.01 * record.seed), 1)
            for one in [Estimate(value=value, standard_error=0.01, n=10)]
        )
        update = {
            "metrics": record.metrics.model_copy(update={"levels": levels}),
            "variant": record.variant.model_copy(update={"config": config}),
        }
        found.append(record.model_copy(update=update))
    return found


def test_the_page_shows_entries_by_their_hardest_level(tmp_path: Path) -> None:
    records = [
        *with_levels("deltanet", 0.55, negative=False),
        *with_levels("deltaproduct", 0.93, negative=True, steps=2),
    ]
    build_site(results_of(tmp_path, records), tmp_path / "site")
    page = (tmp_path / "site" / "state-tracking.html").read_text()
    first, second = page.index(">deltaproduct</a>"), page.index(">deltanet</a>")
    assert first < second
    assert "\u22121 to 1, 2 steps a token</td>" in page[first:second]
    assert '<td class="n">1.00</td><td class="n">0.94 <small>' in page[first:second]
    assert "0 to 1</td>" in page[second:]


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    folder = results_of(tmp_path, made("softmax", "mqar", (0.5, 0.5)))
    build_site(folder, tmp_path / "site")
    page = (tmp_path / "site" / "state-tracking.html").read_text()
    assert "No entry has published results on a task of state tracking yet." in page
