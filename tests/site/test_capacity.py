"""Recall against the size of the state: what the page shows is what the records hold."""

import json
import re
from pathlib import Path
from unittest import mock

import pytest
import torch
from cli_support import cells_of
from made_records import made
from site_support import results_of
from support import REPOSITORY
from torch import Tensor
from torch.utils._pytree import tree_leaves

from cab.backbones.stepping import start, step
from cab.profiles import get_profile
from cab.records.results import read_file
from cab.registry import discover_tasks
from cab.running.trained import build_model
from cab.site.build import build_site
from cab.site.capacity import Sizes, capacity, sizes_of, state_bytes
from cab.site.content import gather

PUBLISHED = REPOSITORY / "results"
TASKS = discover_tasks()
ENTRIES = ("softmax", "linear", "gla", "deltanet", "window", "mean", "none")


@pytest.fixture(scope="module")
def content():
    # The scored tasks are the registered ones, not those of the other tests of pages.
    with mock.patch("cab.site.content.discover_tasks", discover_tasks):
        return gather(PUBLISHED)


def lines(variant: str, task: str) -> list[dict]:
    """The published records of a variant on a task, as they stand in the file."""
    text = (PUBLISHED / "quick" / f"{variant}.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [one for one in found if one["task"]["name"] == task and one["status"] == "ok"]


def chosen(records: list[dict]) -> list[dict]:
    """Those at the learning rate that several seeds ran at."""
    rates = [one["settings"]["recipe"]["train"]["learning_rate"] for one in records]
    rate = max(set(rates), key=rates.count)
    return [one for one, own in zip(records, rates, strict=True) if own == rate]


@pytest.mark.parametrize("task", ["mqar", "recall-latest"])
def test_the_figures_are_those_of_the_published_lines(content, task: str) -> None:
    shown = {one["card"].name: one for one in capacity(content, content.profiles[0])["capacities"]}
    assert set(shown) == {"mqar", "recall-latest"}
    rows = {row.entry: row for row in shown[task]["rows"]}
    assert {"softmax", "linear", "mean"} <= rows.keys()
    assert "none" not in rows
    for name, row in rows.items():
        records = chosen(lines(row.variant, task))
        values = [one["metrics"]["levels"][-1]["test"]["value"] for one in records]
        assert len(values) == 3, name
        assert sorted(row.values) == sorted(values)
        assert row.mean.point == pytest.approx(sum(values) / 3)
    without = chosen(lines("none", task))
    values = [one["metrics"]["levels"][-1]["test"]["value"] for one in without]
    assert shown[task]["without"] == pytest.approx(sum(values) / 3)
    width = lines("softmax", task)[0]["settings"]["recipe"]["model"]["width"]
    dim, layers, length = {"mqar": (32, 2, 128), "recall-latest": (64, 1, 80)}[task]
    assert (width["dim"], width["layers"], width["hybrid"]) == (dim, layers, 0)
    # Keys and values of each layer, in float32.
    assert rows["softmax"].size == 2 * layers * length * dim * 4
    assert rows["window"].size == 2 * layers * 16 * dim * 4
    assert rows["linear"].size < rows["softmax"].size


@torch.no_grad()
@pytest.mark.parametrize("name", [one for one in ENTRIES if one != "none"])
def test_the_bytes_are_those_of_the_network_that_was_trained(content, name: str) -> None:
    for task, sizes in (("mqar", (2, 32, 2)), ("recall-latest", (4, 64, 1))):
        (cell, *_) = cells_of([name], profile=get_profile("quick"), tasks=(task,))
        made_task = TASKS.load(task)(cell.recipe)
        test = made_task.at_levels()[-1].examples("test")["inputs"][:1]
        model, state = build_model(cell, made_task).eval(), None
        state = start(model, 1)
        for token in test.T:
            _, state = step(model, token, state)
        counted = sum(
            4 * leaf.numel()
            for layer in state.layers
            for leaf in tree_leaves(layer.mixer)
            if isinstance(leaf, Tensor) and leaf.dtype != torch.bool
        )
        path = PUBLISHED / "quick" / f"{name}.jsonl"
        record = next(one for one in read_file(path) if one.task.name == task)
        assert sizes_of(record.settings.recipe) == Sizes(*sizes, 0, test.shape[1])
        found = state_bytes(record, content.variants, content.reference)
        assert found == pytest.approx(counted), task


WIDTH = {"dim": 32, "heads": 2, "layers": 4, "hybrid": 0}


def with_sizes(variant: str, values: tuple[float, ...], task: str = "mqar", **width: int) -> list:
    """Made-up records whose recipe has the sizes of a network."""
    found = []
    for record in made(variant, task, values):
        model = {"length": 512, "width": {**WIDTH, **width}}
        recipe = {**record.settings.recipe, "data": {"length": 128}, "model": model}
        settings = record.settings.model_copy(update={"recipe": recipe})
        found.append(record.model_copy(update={"settings": settings}))
    return found


def test_a_hybrid_holds_the_caches_of_its_softmax_layers(content) -> None:
    def size(variant: str, **width: int) -> float:
        (record,) = with_sizes(variant, (0.5,), **width)
        return state_bytes(record, content.variants, content.reference)

    plain, cache = size("linear") / 4, 2 * 128 * 32 * 4
    assert size("softmax") == 4 * cache
    assert size("linear", hybrid=1) == pytest.approx(2 * plain + 2 * cache)
    assert size("linear", hybrid=3) == pytest.approx(3 * plain + cache)
    assert size("linear", hybrid=2) == pytest.approx(3 * plain + cache)


def test_a_recipe_without_usable_sizes_gives_none(content) -> None:
    (record,) = made("linear", "mqar", (0.5,))
    assert state_bytes(record, content.variants, content.reference) is None
    data, model = {"length": 128}, {"width": dict(WIDTH), "length": 512}
    assert sizes_of({"data": {}, "model": model}) == Sizes(2, 32, 4, 0, 512)
    for bad in (
        {"data": data},
        {"data": 3, "model": model},
        {"data": {"length": "x"}, "model": model},
        {"data": data, "model": {**model, "width": {**WIDTH, "heads": 0}}},
        {"data": data, "model": {**model, "width": {**WIDTH, "layers": 2.5}}},
    ):
        assert sizes_of(bad) is None


def test_the_page_shows_only_what_decodes_with_its_numbers(tmp_path: Path) -> None:
    records = [
        *with_sizes("softmax", (0.9, 0.91, 0.92)),
        *with_sizes("none", (0.1, 0.11, 0.12)),
        *with_sizes("linear", (0.5, 0.55, 0.6)),
        *made("nystrom", "mirror", (0.5, 0.5, 0.5)),
    ]
    folder = results_of(tmp_path, records)
    content = gather(folder)
    (one,) = capacity(content, content.profiles[0])["capacities"]
    assert [row.entry for row in one["rows"]] == ["linear", "softmax"]
    build_site(folder, tmp_path / "site")
    page = (tmp_path / "site" / "capacity.html").read_text()
    _, _, table = page.partition("</svg></div>")
    text = re.sub(r"<[^>]+>", " ", table[: table.index("</table>")])
    for row in one["rows"]:
        assert re.search(rf"{row.entry}\s+{row.size:,.0f}\s+{row.mean.point:.2f}\s", text), text
    assert "nystrom" not in text
    assert ">linear</text>" in page
    assert "Only entries that decode token by token" in page


def test_a_page_without_results_says_so(tmp_path: Path) -> None:
    folder = results_of(tmp_path, made("softmax", "mirror", (0.9, 0.91)))
    build_site(folder, tmp_path / "site")
    page = (tmp_path / "site" / "capacity.html").read_text()
    assert "No entry that decodes has published results on a recall task yet." in page
