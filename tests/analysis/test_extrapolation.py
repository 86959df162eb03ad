"""A trained cell is tested from a quarter to eight times its training length."""

from pathlib import Path

import pytest
from cli_support import cab_here, cells_of, make_record, write_variant

from cab.analysis.extrapolation import FACTORS, PARTS, extrapolate, join, loss_along, plot
from cab.errors import CabError
from cab.records.store import AtLength, Estimate, Positions, RecordStore
from cab.registry import discover_tasks
from cab.running.trained import TrainedCell, build_model
from cab.task import LENGTH_FACTORS

TASKS = discover_tasks()
POINTS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]


def trained(task: str = "mqar", variant: str = "softmax", include: tuple = ()) -> TrainedCell:
    (cell,) = cells_of([variant], tasks=(task,), include=include)
    made = TASKS.load(task)(cell.recipe)
    return TrainedCell(cell, made, build_model(cell, made).eval())


def test_the_curve_goes_from_a_quarter_to_eight_times_the_length():
    assert (*LENGTH_FACTORS, 8.0) == FACTORS
    curve = extrapolate(trained(), "cpu")
    assert [point.factor for point in curve] == POINTS
    assert [point.length for point in curve] == [4, 8, 16, 32, 64, 128]
    assert [point.status for point in curve] == ["ok"] * 6
    assert all(point.positions for point in curve)


def test_a_task_of_one_length_is_refused():
    with pytest.raises(CabError, match="induction has only one length"):
        extrapolate(trained("induction"), "cpu")


TAKES_64 = """if k.shape[2] > 64:
            raise Unsupported('64 tokens at most')
        return q"""


def test_what_is_made_for_a_fixed_length_ends_there_and_says_so(tmp_path: Path):
    path = write_variant(tmp_path, "shortsighted", TAKES_64)
    curve = extrapolate(trained(variant="shortsighted", include=[path]), "cpu")
    assert [point.status for point in curve] == ["ok"] * 5 + ["unsupported"]
    assert "64 tokens at most" in curve[5].message
    assert not curve[5].positions


def test_the_loss_along_a_sequence_is_that_of_a_loop():
    cell = trained()
    examples = cell.task.examples("test")
    logits = cell.model(examples["inputs"]).double().log_softmax(dim=-1)
    length = examples["inputs"].shape[1]
    sums, counts = [0.0] * length, [0] * length
    for row, targets in enumerate(examples["targets"].tolist()):
        for place, target in enumerate(targets):
            if target >= 0:
                sums[place] -= logits[row, place, target].item()
                counts[place] += 1
    parts = loss_along(cell.task, cell.model, 5)
    assert sum(part.n for part in parts) == sum(counts)
    for part in parts:
        here = range(part.first, part.last + 1)
        expected = sum(sums[t] for t in here) / sum(counts[t] for t in here)
        assert part.nats == pytest.approx(expected, rel=1e-5)
    bounds = [(0, 2), (3, 5), (6, 8), (9, 11), (12, 15)]
    assert {(part.first, part.last) for part in parts} <= set(bounds)


def test_a_sequence_shorter_than_the_parts_has_a_part_for_each_position():
    cell = trained()
    short = cell.task.at_lengths()[0.25]
    assert {part.last - part.first for part in loss_along(short, cell.model, PARTS)} == {0}


def test_a_task_that_asks_once_has_no_loss_along_the_sequence():
    cell = trained("digits")
    assert loss_along(cell.task, cell.model) == ()


def test_the_curve_replaces_the_one_in_the_record(tmp_path: Path):
    store, record = RecordStore(tmp_path), make_record("1" * 32)
    curve = made_curve(0.5)
    assert join(store, record.key, curve) is None
    store.write(record)
    join(store, record.key, curve)
    kept = store.read(record.key)
    assert kept.metrics.lengths == curve
    assert kept.metrics.test == record.metrics.test


def made_curve(value: float) -> tuple[AtLength, ...]:
    estimate = Estimate(value=value, standard_error=0.01, n=9)
    positions = tuple(
        Positions(first=8 * part, last=8 * part + 7, nats=1.0 + part, n=3) for part in range(4)
    )
    return (
        AtLength(factor=1, length=16, estimate=estimate),
        AtLength(factor=2, length=32, estimate=estimate, positions=positions),
        AtLength(factor=4, length=64, status="oom", message="no memory"),
    )


def test_a_drawing_holds_both_curves_and_is_the_same_twice(tmp_path: Path):
    curves = {"linear": made_curve(0.5), "softmax": made_curve(0.7)}
    plot(curves, "accuracy", tmp_path / "one.svg")
    plot(curves, "accuracy", tmp_path / "deeper" / "two.svg")
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "deeper" / "two.svg").read_text()
    for words in ("linear, 2x", "softmax", "accuracy", "perplexity", "dashed: of training"):
        assert words in text
    (tmp_path / "file").write_text("")
    with pytest.raises(CabError, match="cannot be written"):
        plot(curves, "accuracy", tmp_path / "file" / "one.svg")


@pytest.mark.slow
def test_the_command_shows_the_curve_beside_the_references(tmp_path: Path):
    arguments = ("extrapolate", "--variant", "linear", "--task", "mqar", "--profile", "smoke")
    arguments += ("--store", tmp_path)
    first = cab_here(*arguments, "--unchecked", "--json", "--plot", tmp_path / "curve.svg")
    assert first.code == 0, first.err
    curves = first.document["curves"]
    assert list(curves) == ["linear", "softmax"]
    assert [point["factor"] for point in curves["linear"]] == POINTS
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")
    stored = RecordStore(tmp_path).load()[0]
    assert {len(record.metrics.lengths) for record in stored} == {6}
    shown = cab_here(*arguments, "--unchecked")
    assert shown.code == 0, shown.err
    assert "perplexity by position at 8x" in shown.out
    assert "8.0x" in cab_here("show", "--profile", "smoke", "--store", tmp_path).out


@pytest.mark.slow
def test_a_file_of_weights_has_the_references_beside_it_of_the_same_recipe_alone(tmp_path: Path):
    weights = tmp_path / "weights"
    run = ("run", "--task", "mqar", "--profile", "smoke", "--unchecked", "--tracking", "none")
    run += ("--store", tmp_path / "store", "--checkpoints", weights)
    assert cab_here(*run, "--variant", "mean").code == 0
    (manifest,) = weights.glob("*.json")
    look = ("extrapolate", "--variant", "mean", "--task", "mqar", "--profile", "smoke", "--json")
    look += ("--store", tmp_path / "store", "--checkpoint", manifest)
    assert cab_here(*run, "--variant", "softmax", "--set", "train.steps=5").code == 0
    refused = cab_here(*look)
    assert refused.code == 2
    assert "trained with different recipes" in refused.err
    for path in [one for one in weights.iterdir() if one.stem != manifest.stem]:
        path.unlink()
    assert cab_here(*run, "--variant", "softmax").code == 0
    said = cab_here(*look)
    assert said.code == 0, said.err
    assert list(said.document["curves"]) == ["mean", "softmax"]
