"""A contribution from scaffold to row, by the very commands that CONTRIBUTING.md gives."""

import json
import re
import shlex
from pathlib import Path

import pytest
from cli_support import DATA, Said, cab_here
from support import REPOSITORY

from cab.records.rates import chosen_rate, rate_of, to_try
from cab.records.results import read_file

WHOLE_ROW = "--seeds 3"


def commands() -> list[list[str]]:
    """The lines of the guide's one block of commands."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def follow(line: list[str], *more: str) -> Said:
    assert line[0] == "cab"
    data = {"CAB_DATA": DATA} if DATA else {}
    return cab_here(*line[1:], *more, **data)


def test_the_guide_gives_the_commands_in_their_order() -> None:
    assert [line[1] for line in commands()] == [
        "new", "check", "run", "run", "publish", "verify", "leaderboard", "site",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_new_variant_reaches_a_row_of_a_local_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lines but the whole row, which takes an hour; one seed of one task stands in for it."""
    monkeypatch.chdir(tmp_path)
    new, check, one_task, whole_row, publish, verify, leaderboard, site = commands()
    assert follow(new).code == 0
    assert Path("my_attention.py").is_file()
    assert "All laws hold" in follow(check).out
    said = follow(one_task, "--tracking", "none", "--device", "cpu")
    assert said.code == 0, said.err
    # The store holds her cell alone: the published references stand in, and it is said.
    assert "softmax (published)" in said.out
    assert (
        "the store has no results of softmax and none, so published ones are shown, measured on"
        in said.out
    )
    (shown,) = (
        row
        for row in follow(["cab", "show", "my-attention", "--json"]).document["rows"]
        if row["entry"] == "my-attention"
    )
    assert shown["score"]["value"] == pytest.approx(1, abs=0.25)
    assert WHOLE_ROW in " ".join(whole_row)
    assert follow(whole_row, "--dry-run").code == 0

    assert follow(publish).code == 0
    records = read_file(Path("results/quick/my-attention.jsonl"))
    assert {one.task.name for one in records} == {"mirror"}
    # Three rates, and those beyond an end that was best; two more seeds at the chosen one.
    assert to_try(records) == ()
    chosen = chosen_rate(records)
    assert [rate_of(one) for one in records if one.seed] == [chosen, chosen]
    assert 5 <= len(records) <= 7
    said = follow(verify, "--device", "cpu", "--write")
    assert said.code == 0, said.out
    assert "1 cells rerun, 1 agree: reproduced" in said.out

    said = follow(leaderboard, "--json")
    (row,) = (row for row in said.document["rows"] if row["entry"] == "my-attention")
    # It is softmax's function: its score is near 1, and one task earns no rank.
    assert row["score"]["value"] == pytest.approx(1, abs=0.25)
    assert (row["rank"], row["seeds"]) == (None, 3)
    assert follow(site).code == 0
    page = Path("public/index.html").read_text(encoding="utf-8")
    assert [path.name for path in Path("results/quick").iterdir()] == ["my-attention.jsonl"]
    assert 'data-entry="my-attention"' in page
    assert 'data-status="verified"' in page
    assert "my-attention" in json.dumps(
        json.loads(Path("public/data/quick/board.json").read_text(encoding="utf-8"))
    )
    assert Path("public/variants/my-attention.html").is_file()
