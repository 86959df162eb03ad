"""Batches that are drawn ahead are the same ones, and whoever reads them waits less."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from cli_support import cab_here, cells_of, make_record, run_cells, write_variant
from task_support import TASKS, softmax_slots
from torch import nn

from cab.records.parts import Cost
from cab.records.store import RecordStore
from cab.running.batches import AHEAD, batches_ahead, drawn_ahead
from cab.running.training import DivergedError, Trained, train
from cab.task import Batch, Recipe, Split, Task

TRIED = ("mqar", "compose", "few-shot", "regress", "sort", "frame-recall", "spoken-recall")
"""Tasks of every pattern and of several kinds of data: ranks, pictures, sounds, functions."""

STEP = 0.01
"""Seconds that a simulated draw or step takes."""


def small(recipe: Recipe, steps: int = 12) -> Recipe:
    """A recipe that takes a second and visits all of its levels."""
    settings = replace(recipe.train, steps=steps, batch_size=4)
    return replace(recipe, train=settings, valid_examples=4, test_examples=4)


def trained(task: Task, ahead: int, device: str = "cpu") -> tuple[Trained, nn.Module]:
    """Train the same network anew."""
    accelerator = Accelerator(cpu=device == "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(softmax_slots(task.card.pattern)).to(device)
        return train(task, model, accelerator, 1, lambda done, total: None, ahead), model


def made(name: str) -> Task:
    loaded = TASKS.load(name)
    assert issubclass(loaded, Task)
    return loaded(small(loaded.recipes["quick"]))


def assert_equal_to_the_bit(
    one: tuple[Trained, nn.Module], two: tuple[Trained, nn.Module]
) -> None:
    assert one[0].curve == two[0].curve
    assert one[0].levels == two[0].levels
    assert one[0].tokens == two[0].tokens > 0
    weights, others = (dict(model.named_parameters()) for _, model in (one, two))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


@pytest.mark.parametrize("name", TRIED)
def test_training_is_the_same_to_the_bit_whether_batches_are_drawn_ahead_or_not(name: str) -> None:
    task = made(name)
    without = trained(task, 0)
    assert_equal_to_the_bit(without, trained(task, 1))
    assert_equal_to_the_bit(without, trained(task, 5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", TRIED)
def test_training_on_a_gpu_is_the_same_to_the_bit_too(name: str) -> None:
    task = made(name)
    assert_equal_to_the_bit(trained(task, 0, "cuda"), trained(task, AHEAD, "cuda"))


def test_batches_are_drawn_ahead_on_cuda_and_not_on_a_cpu() -> None:
    assert batches_ahead(torch.device("cuda", 1)) == AHEAD > 0
    assert batches_ahead(torch.device("cpu")) == 0


class Slow(Task):
    """A task each of whose draws, and each of whose steps, takes STEP seconds."""

    card = made("mqar").card
    step = STEP

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        if split == "train":
            time.sleep(STEP)
        return {"inputs": torch.rand(count, 3, generator=generator)}

    def build(self, slots: Any) -> nn.Module:
        return nn.Linear(3, 1)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        time.sleep(self.step)
        return torch.as_tensor(model(batch["inputs"]).square().mean())

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return {"accuracy": model(batch["inputs"]).mean(dim=1)}


def slow(steps: int = 30) -> Slow:
    return Slow(replace(small(made("mqar").recipe, steps), levels=()))


def test_a_fast_step_waits_less_for_batches_that_are_drawn_ahead() -> None:
    task = slow()
    one, two = (trained(task, ahead)[0] for ahead in (0, AHEAD))
    assert one.curve == two.curve
    assert one.data_seconds >= 30 * STEP
    assert two.data_seconds < one.data_seconds / 2
    assert two.seconds < one.seconds
    assert 0 < two.data_seconds <= two.seconds


def test_a_step_of_no_time_waits_for_all_that_is_drawn() -> None:
    task = slow(10)
    task.step = 0.0
    found = trained(task, AHEAD)[0]
    assert found.data_seconds > found.seconds / 2


HANGS_AHEAD = """if self.training:
            open("MARKER", "w").write(str(os.getpid()))
            time.sleep(600)
        return q"""


def drawing_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("batches")]


@pytest.mark.parametrize("ahead", [0, 3])
def test_what_a_draw_raises_is_raised_at_its_own_step(ahead: int) -> None:
    task, done = slow(), list[int]()
    whole, drawn = task.draw, 0

    def draw(split: Split, count: int, generator: torch.Generator) -> Batch:
        nonlocal drawn
        if split == "train":
            drawn += 1
            if drawn == 8:
                raise LookupError("no example is left")
        return whole(split, count, generator)

    task.draw = draw  # type: ignore[method-assign]
    model = nn.Linear(3, 1)
    with pytest.raises(LookupError, match="no example is left") as caught:
        train(task, model, Accelerator(cpu=True), 0, lambda step, all_: done.append(step), ahead)
    assert done == list(range(1, 8))
    assert caught.traceback[-1].name == "draw"  # where a record says that it failed
    assert not drawing_threads()


def test_no_thread_is_left_by_training_that_ends_or_diverges_or_is_stopped() -> None:
    task = slow()
    trained(task, AHEAD)
    assert not drawing_threads()
    task.loss = lambda model, batch: model(batch["inputs"]).mean() * torch.inf  # type: ignore[method-assign]
    with pytest.raises(DivergedError):
        trained(task, AHEAD)
    assert not drawing_threads()

    def stop(done: int, total: int) -> None:
        assert drawing_threads()
        raise KeyboardInterrupt

    del task.loss
    with pytest.raises(KeyboardInterrupt):
        train(task, nn.Linear(3, 1), Accelerator(cpu=True), 0, stop, AHEAD)
    assert not drawing_threads()


@pytest.mark.parametrize("ahead", [0, 1, 4, 40])
def test_items_come_in_order_from_one_thread_and_not_too_far_ahead(ahead: int) -> None:
    made_so_far, threads = 0, set[int]()

    def source() -> Iterator[int]:
        nonlocal made_so_far
        for number in range(20):
            threads.add(threading.get_ident())
            made_so_far = number + 1
            yield number

    read = []
    for number in drawn_ahead(source(), ahead):
        read.append(number)
        time.sleep(0.001)
        assert made_so_far <= number + 1 + ahead
    assert read == list(range(20))
    assert len(threads) == 1
    assert (threading.get_ident() in threads) is (ahead == 0)


AHEAD_ON_CPU = """
import multiprocessing
from cab.running import training
if multiprocessing.parent_process():
    training.batches_ahead = lambda device: 3
"""
"""What makes the process of a cell draw ahead that would not on its device."""

LOOKS = """
    def after_step(self):
        import threading
        assert any(one.name.startswith("batches") for one in threading.enumerate())
"""
"""What lets a cell fail whose batches are not drawn by a thread."""


def test_a_cell_forked_from_the_server_draws_ahead_and_gives_the_same_numbers(
    tmp_path: Path,
) -> None:
    usual = write_variant(tmp_path, "usual")
    ahead = write_variant(tmp_path, "forward", top=LOOKS + AHEAD_ON_CPU)
    include = [usual, ahead]
    cells = [*cells_of(["usual", "forward"], include=include, tasks=("mqar", "regress"))]
    for one in (records := [one.record for one in run_cells(tmp_path, cells)[0]]):
        assert one is not None
        assert one.status == "ok", one.message
    found = {(one.variant.name, one.task.name): one for one in records if one is not None}
    for task in ("mqar", "regress"):
        one, two = found["usual", task], found["forward", task]
        assert one.curve == two.curve
        assert one.metrics == two.metrics
        assert one.task.data_fingerprint == two.task.data_fingerprint


def test_a_time_limit_ends_a_cell_whose_thread_draws_ahead(tmp_path: Path) -> None:
    hangs = write_variant(tmp_path, "hangs", HANGS_AHEAD, top=AHEAD_ON_CPU)
    marker = tmp_path / "process"
    hangs.write_text(hangs.read_text().replace("MARKER", str(marker)))
    (cell,) = cells_of(["hangs"], include=[hangs])
    limited = replace(cell, profile=replace(cell.profile, time_limit=20.0))
    started = time.monotonic()
    (finished,) = run_cells(tmp_path, [limited])[0]
    assert finished.record is not None
    assert finished.record.status == "timeout", finished.record.message
    assert time.monotonic() - started < 100
    assert not Path("/proc", marker.read_text()).exists()


def test_a_record_holds_how_long_training_waited_for_data(tmp_path: Path) -> None:
    finished, _ = run_cells(tmp_path, list(cells_of(["none"])))
    record = finished[0].record
    assert record is not None
    cost = record.cost
    assert cost.data_seconds is not None
    assert cost.seconds is not None
    assert 0 < cost.data_seconds < cost.seconds
    assert Cost.model_validate(cost.model_dump()) == cost
    shown = cab_here("show", "--profile", "smoke", "--json", "--store", tmp_path)
    (line,) = shown.document["rows"]
    assert line["data_share"] == pytest.approx(cost.data_seconds / cost.seconds)


@pytest.mark.parametrize(("waited", "said"), [(0.3, True), (0.2, False), (None, False)])
def test_the_tables_say_where_training_waited_for_data(
    tmp_path: Path, waited: float | None, said: bool
) -> None:
    cost = Cost(total_seconds=2.0, seconds=1.0, data_seconds=waited, steps=4)
    RecordStore(tmp_path).write(make_record(cost=cost))
    shown = cab_here("show", "--store", tmp_path)
    sentence = "mqar, softmax: 30% of the time in training steps was spent waiting for data."
    assert (sentence in shown.out) is said


def test_records_of_before_read_and_are_written_as_they_were() -> None:
    old = {"total_seconds": 2.0, "seconds": 1.0}
    cost = Cost.model_validate(old)
    assert cost.data_seconds is None
    assert "data_seconds" not in cost.model_dump()
