"""Several processes that train one cell together give what one process gives."""

from pathlib import Path

import pytest
import torch
from cli_support import DATA, cab_here, cells_of, needs_data, run_cells, write_variant
from task_support import softmax_slots

from cab.errors import CabError, Unsupported
from cab.profiles import get_profile
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Request, plan
from cab.seeding import generator
from cab.task import slice_batch

TASKS = discover_tasks()
SUMS = {"tts-fastspeech", "tts-transformer-cc", "tts-transformer-cs", "tts-transformer-ns"}
BUILT_IN = [
    card.name
    for card in TASKS.cards()
    if not card.data and "smoke" in TASKS.load(card.name).recipes
]


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_means_of_shares_join_to_the_mean_of_the_whole(name):
    task_class = TASKS.load(name)
    task = task_class(task_class.recipes["smoke"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(softmax_slots(task.card.pattern)).eval()
    batch = task.draw("train", 7, generator("shares"))
    if name in SUMS:
        with pytest.raises(Unsupported, match="cannot be split over processes"):
            task.loss_terms(batch)
        return
    shares = [slice_batch(batch, 0, 2), slice_batch(batch, 2, 7)]
    with torch.no_grad():
        joined = sum(
            task.loss(model, share) * task.loss_terms(share) / task.loss_terms(batch)
            for share in shares
        )
        torch.testing.assert_close(joined, task.loss(model, batch), rtol=2e-5, atol=1e-6)


def test_labels_that_are_not_asked_are_no_terms():
    task = TASKS.load("mqar")(TASKS.load("mqar").recipes["smoke"])
    batch = {"targets": torch.tensor([[1, -100, 3], [-100, -100, 0]])}
    assert task.loss_terms(batch) == 3
    assert task.loss_terms({"targets": torch.zeros(4, 9)}) == 4
    assert task.loss_terms({"answers": torch.zeros(5, 2, dtype=torch.long)}) == 5


def test_more_processes_than_examples_are_refused():
    with pytest.raises(CabError, match="a batch size of 16, too small for --processes 17"):
        cells_of(["softmax"], processes=17)


def test_processes_are_no_part_of_the_key():
    one, two = (cells_of(["softmax"], processes=count)[0] for count in (1, 2))
    assert one.key == two.key
    assert two.processes == 2


def curves(folder: Path, processes: int, **request):
    """The record that so many processes give."""
    (finished,), _ = run_cells(folder / str(processes), cells_of(**request, processes=processes))
    record = finished.record
    assert record.status == "ok", record.message
    assert record.environment.processes == processes
    return record


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("batch", ["8", "7"])
def test_two_processes_give_the_loss_curve_of_one_on_real_text(tmp_path, batch):
    request = {
        "variants": ["linear"],
        "tasks": ("byte-lm",),
        "options": {"train.steps": "6", "train.batch_size": batch, "train.learning_rate": "0.01"},
    }
    assert DATA
    alone, shared = (curves(tmp_path, count, **request) for count in (1, 2))
    losses = [point.loss for point in alone.curve]
    assert len(losses) == 6
    assert losses[0] - losses[-1] > 0.05, "it learned nothing, so anything would agree"
    assert [point.loss for point in shared.curve] == pytest.approx(losses, rel=1e-5)
    assert shared.cost.tokens == alone.cost.tokens
    for name, estimate in alone.metrics.test.items():
        assert shared.metrics.test[name].value == pytest.approx(estimate.value, rel=1e-4)


@pytest.mark.slow
def test_three_processes_of_a_task_with_labels_left_out_give_the_curve_of_one(tmp_path):
    request = {"variants": ["gla"], "tasks": ("selective-copy",)}
    alone, shared = (curves(tmp_path, count, **request) for count in (1, 3))
    expected = [point.loss for point in alone.curve]
    assert [point.loss for point in shared.curve] == pytest.approx(expected, rel=1e-5)


DIES = "if torch.distributed.is_initialized() and torch.distributed.get_rank() == 1: {} \n        "


@pytest.mark.slow
@pytest.mark.parametrize("way", ["os._exit(3)", "raise ValueError('only here')"])
def test_one_process_that_fails_ends_the_cell_and_leaves_none_behind(tmp_path, way):
    path = write_variant(tmp_path, "lopsided", DIES.format(way) + "return q")
    (finished,), _ = run_cells(tmp_path, cells_of(["lopsided"], include=[path], processes=2))
    assert finished.record.status == "error"
    assert finished.record.message


@pytest.mark.slow
def test_run_takes_the_number_of_processes_and_keeps_one_checkpoint(tmp_path):
    said = cab_here(
        *("run", "--variant", "none", "--task", "mqar", "--profile", "smoke", "--unchecked"),
        *("--tracking", "none", "--store", tmp_path / "store", "--processes", 2, "--json"),
        *("--checkpoints", tmp_path / "weights"),
    )
    assert said.code == 0, said.err
    (cell,) = said.document["cells"]
    assert cell["status"] == "ok"
    assert len(list((tmp_path / "weights").iterdir())) == 2


def test_a_plan_of_several_processes_is_a_plan():
    request = Request(["softmax"], get_profile("smoke"), tasks=["mqar"], processes=3)
    assert {cell.processes for cell in plan(request, discover_variants(), TASKS).cells} == {3}
