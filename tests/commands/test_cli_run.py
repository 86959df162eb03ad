"""`cab run`: plans, runs what is missing, says how it went, and agrees with its records."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_support import DATA, Said, cab, cab_here, cells_of, make_record, needs_data, write_variant

from cab.records.store import RecordStore
from cab.registry import discover_tasks

# What becomes of cells is told here; the check before them in test_cli_gate.py.
SMOKE = ("run", "--profile", "smoke", "--tracking", "none", "--unchecked")
PLAIN = (*SMOKE, "--variant", "none", "--variant", "mean", "--task", "mqar", "--seeds", "2")
TASKS = discover_tasks()
ROW = [card for card in TASKS.cards() if card.in_row("quick") or card.slot == "feature_map"]
GENERATED = {card.name for card in ROW if not card.data}
NEED_DATA = {
    card.name: card.data[0]
    for card in TASKS.cards()
    if card.data and "smoke" in TASKS.load(card.name).recipes
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "store"


@pytest.fixture(scope="module")
def first(store: Path) -> Said:
    return cab_here(*PLAIN, "--store", store, "--json")


def stamps(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (store / "records").iterdir()}


def agree(document: Any, store: Path) -> None:
    """Assert that a run's JSON document says what the records say, of every cell."""
    records = RecordStore(store)
    for cell in document["cells"]:
        record = records.read(cell["key"])
        assert record is not None
        assert cell["record"] == str(records.path(cell["key"]))
        assert (cell["variant"], cell["task"]) == (record.variant.name, record.task.name)
        assert (cell["pattern"], cell["profile"]) == (record.task.pattern, record.task.profile)
        assert (cell["status"], cell["message"]) == (record.status, record.message)
        assert cell["seed"] == record.seed
        assert cell["test"] == json.loads(record.to_json())["metrics"]["test"]


def test_a_run_gives_every_cell_a_record_and_one_json_document(first: Said, store: Path) -> None:
    assert first.code == 0
    document = first.document
    assert document["store"] == str(store)
    assert document["left_out"] == []
    cells = [(one["variant"], one["task"], one["seed"]) for one in document["cells"]]
    assert cells == [(v, "mqar", seed) for v in ("none", "mean") for seed in (0, 1)]
    assert {one["state"] for one in document["cells"]} == {"ran"}
    assert {one["status"] for one in document["cells"]} == {"ok"}
    assert stamps(store).keys() == {f"{one['key']}.json" for one in document["cells"]}
    agree(document, store)


def test_progress_goes_to_stderr_in_plain_lines(first: Said) -> None:
    assert "[1/4] none on mqar (cs), seed 0: started" in first.err
    assert "[4/4] mean on mqar (cs), seed 1: accuracy" in first.err
    assert "\x1b" not in first.err


def test_a_run_leaves_only_records_behind(first: Said, store: Path) -> None:
    assert sorted(path.name for path in store.iterdir()) == ["locks", "records"]
    assert list((store / "locks").iterdir()) == []
    assert all(re.fullmatch(r"[0-9a-f]{32}\.json", name) for name in stamps(store))


def test_a_record_says_where_and_how_it_came_to_be(first: Said, store: Path) -> None:
    for one in first.document["cells"]:
        record = RecordStore(store).read(one["key"])
        assert record is not None
        assert record.provenance.command.startswith("cab run --profile smoke")
        assert record.provenance.started < record.provenance.ended
        assert record.cost.steps == 4
        assert record.cost.peak_bytes
        # In so few steps training visits the easier level alone, of 8 tokens.
        assert record.cost.tokens == 4 * 16 * 8
        assert record.curve[-1].step == 4
        assert record.environment.cores >= 1


def test_a_second_identical_run_does_nothing_and_says_so(first: Said, store: Path) -> None:
    before = stamps(store)
    again = cab_here(*PLAIN, "--store", store)
    assert again.code == 0
    assert "Nothing to do: all 4 cells have finished. Use --force to rerun." in again.err
    assert "mqar" in again.out
    document = cab_here(*PLAIN, "--store", store, "--json").document
    assert {one["state"] for one in document["cells"]} == {"already done"}
    assert {one["key"] for one in document["cells"]} == {
        one["key"] for one in first.document["cells"]
    }
    agree(document, store)
    assert stamps(store) == before


def test_only_missing_cells_run_when_the_request_grows(first: Said, store: Path) -> None:
    more = cab_here(*PLAIN[:-1], "3", "--store", store, "--json").document["cells"]
    states = {(one["variant"], one["seed"]): one["state"] for one in more}
    assert states == {
        (v, seed): "ran" if seed == 2 else "already done"
        for v in ("none", "mean")
        for seed in range(3)
    }


def test_force_runs_done_cells_again_with_the_same_result(first: Said, store: Path) -> None:
    one = (*SMOKE, "--variant", "none", "--task", "mqar", "--store", store, "--json")
    before = stamps(store)
    (cell,) = cab_here(*one, "--force").document["cells"]
    assert cell["state"] == "ran"
    assert cell["test"] == first.document["cells"][0]["test"]
    assert [name for name, stamp in stamps(store).items() if before[name] != stamp] == [
        f"{cell['key']}.json"
    ]


def test_a_dry_run_shows_the_plan_and_runs_nothing(first: Said, store: Path) -> None:
    before = stamps(store)
    more = (*PLAIN[:-1], "4", "--store", store, "--dry-run")
    planned = cab_here(*more, "--json").document["cells"]
    assert {one["seed"] for one in planned if not one["done"]} >= {3}
    assert {one["seed"] for one in planned if one["done"]} >= {0, 1}
    table = cab_here(*more)
    assert table.code == 0
    assert all(one["key"] in table.out for one in planned)
    assert "to run" in table.out
    assert stamps(store) == before


def test_a_dry_run_needs_neither_data_nor_store(tmp_path: Path) -> None:
    said = cab_here(
        *("run", "--variant", "window", "--dry-run", "--json", "--store", tmp_path / "new")
    )
    assert {"mirror", "mqar"} <= {one["task"] for one in said.document["cells"]}
    left_out = said.document["left_out"]
    assert all("window" in sentence and "mqar " not in sentence for sentence in left_out)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_cell_stops_no_other_and_gives_exit_code_1(tmp_path: Path) -> None:
    path = write_variant(tmp_path, "broken", "raise ValueError('on purpose')")
    store = tmp_path / "store"
    run = (*SMOKE, "--include", path, "--variant", "broken", "--variant", "none")
    said = cab_here(*run, "--task", "mqar", "--store", store, "--json")
    assert said.code == 1
    assert [one["status"] for one in said.document["cells"]] == ["error", "ok"]
    assert "on purpose" in said.document["cells"][0]["message"]
    agree(said.document, store)
    again = cab_here(*run, "--task", "mqar", "--store", store)
    assert again.code == 1
    assert "1 cell ran, 1 skipped as finished." in again.err
    assert "on purpose" in again.err
    assert "1 error" in again.out
    # Without the broken one nothing has gone wrong.
    assert cab_here(*SMOKE, "--variant", "none", "--task", "mqar", "--store", store).code == 0


def test_limits_end_cells_as_oom_and_timeout_which_are_no_errors(tmp_path: Path) -> None:
    files = [
        write_variant(tmp_path, "sleeps", "time.sleep(600)"),
        write_variant(tmp_path, "huge", "return q + torch.ones(1 << 30).sum()"),
        write_variant(tmp_path, "picky", construct="raise Unsupported('needs a grid')"),
    ]
    include = [word for path in files for word in ("--include", path, "--variant", path.stem)]
    limits = ("--time-limit", "5", "--memory-limit", "2.5", "--store", tmp_path / "store")
    said = cab_here(*SMOKE, *include, *limits, "--task", "mqar", "--json")
    ends = {one["variant"]: (one["status"], one["message"]) for one in said.document["cells"]}
    assert ends["sleeps"][0] == "timeout"
    assert "5 s" in ends["sleeps"][1]
    assert ends["huge"][0] == "oom", ends["huge"]
    assert "2.5 GiB" in ends["huge"][1]
    assert ends["picky"] == ("unsupported", "needs a grid")
    assert said.code == 0


def test_what_a_variant_prints_does_not_get_into_the_json_document(tmp_path: Path) -> None:
    noise = "print('from attend'); os.system('echo from a shell'); return q"
    path = write_variant(tmp_path, "chatty", noise, top="print('from the import')\n")
    said = cab(
        *SMOKE, "--include", path, "--variant", "chatty", "--task", "mqar", "--json", cwd=tmp_path
    )
    assert said.code == 0
    assert said.document["cells"][0]["status"] == "ok"


def test_a_run_into_pipes_writes_plain_lines_and_no_warnings(tmp_path: Path) -> None:
    said = cab(*SMOKE, "--variant", "none", "--task", "mqar", cwd=tmp_path)
    assert said.code == 0
    assert "\x1b" not in said.out + said.err
    assert "none" in said.out
    expected = r"(\[1/1\] none on mqar .*|1 cell ran, .*|Records: .*)"
    assert [line for line in said.err.splitlines() if not re.fullmatch(expected, line)] == []


@pytest.mark.parametrize(("task", "name"), NEED_DATA.items())
def test_a_task_asked_for_by_name_without_its_data_names_the_command(
    task: str, name: str, tmp_path: Path
) -> None:
    said = cab_here(*SMOKE, "--variant", "none", "--task", task, "--store", tmp_path / "store")
    assert said.code == 2
    assert f"`cab data fetch {name}`" in said.err
    assert said.out == ""
    assert not (tmp_path / "store").exists()


def test_tasks_without_data_are_left_out_loudly_and_the_rest_runs(tmp_path: Path) -> None:
    said = cab_here(*SMOKE, "--variant", "none", "--store", tmp_path / "store", "--json")
    assert said.code == 0
    assert {one["task"] for one in said.document["cells"]} == GENERATED
    assert {one["status"] for one in said.document["cells"]} == {"ok"}
    needing = {card.name for card in ROW} & NEED_DATA.keys()
    assert "transcribe" in needing
    for task in needing:
        name = NEED_DATA[task]
        (sentence,) = [
            text for text in said.document["left_out"] if f"data set {name} " in text.lower()
        ]
        assert task in sentence.removeprefix("Skipping ").split(": ")[0].split(", ")
        assert f"`cab data fetch {name}`" in sentence
        assert sentence in said.err


def test_a_failed_cell_whose_data_has_gone_is_told_of_the_data(tmp_path: Path) -> None:
    (cell,) = cells_of(["none"], tasks=("byte-lm",))
    RecordStore(tmp_path).write(make_record(cell.key, status="error", message="lost power"))
    said = cab_here(*SMOKE, "--variant", "none", "--task", "byte-lm", "--store", tmp_path)
    assert said.code == 2
    assert "`cab data fetch tinyshakespeare`" in said.err


@needs_data
def test_done_cells_are_shown_without_their_data(tmp_path: Path) -> None:
    run = (*SMOKE, "--variant", "none", "--task", "byte-lm", "--store", tmp_path / "store")
    assert cab_here(*run, CAB_DATA=str(DATA)).code == 0
    again = cab_here(*run)
    assert again.code == 0
    assert "Nothing to do" in again.err
