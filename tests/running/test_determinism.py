"""The same seed gives the same numbers to the last digit, and nothing else moves them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from cli_support import cells_of, needs_data, run_cells, write_variant

from cab.attention import build_attention
from cab.backbones.slots import Slots
from cab.records.store import Record
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell
from cab.running.training import train
from cab.seeding import derive_seed, generator
from cab.task import Batch, Split, Task

GENERATED = ("mqar", "regress")
REAL = ("digits", "byte-lm", "forecast", "transcribe")
NOISY = "return q + torch.rand_like(q) * 1e-3"


def results(store: Path, cells: list[Cell]) -> dict[tuple[str, str, int], Record]:
    found = {}
    for one in run_cells(store, cells)[0]:
        assert one.record is not None
        assert one.record.status == "ok", one.record.message
        found[one.cell.variant.name, one.cell.task.name, one.cell.seed] = one.record
    return found


def numbers(record: Record) -> tuple[object, ...]:
    return record.metrics, record.curve, record.shortcuts, record.task.data_fingerprint


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str, int], Record]]:
    folder = tmp_path_factory.mktemp("twice")
    # A variant that draws random numbers of its own, as dropout would.
    include = [write_variant(folder, "noisy", NOISY)]
    cells = [*cells_of(["linear", "noisy"], include=include, tasks=GENERATED, seeds=2)]
    return [results(folder / "one", cells), results(folder / "two", cells[::-1])]


def test_the_same_cell_gives_the_same_numbers_to_the_last_digit_in_any_order(
    stores: list[dict[tuple[str, str, int], Record]],
) -> None:
    one, two = stores
    assert one.keys() == two.keys()
    assert len(one) == 2 * len(GENERATED) * 2
    for cell, record in one.items():
        assert numbers(record) == numbers(two[cell]), cell
        assert record.key == two[cell].key
        assert record.cost.flops == two[cell].cost.flops
        assert record.cost.tokens == two[cell].cost.tokens


def test_another_seed_gives_another_curve_on_the_same_examples(
    stores: list[dict[tuple[str, str, int], Record]],
) -> None:
    for (variant, task, seed), record in stores[0].items():
        other = stores[0][variant, task, 1 - seed]
        assert [p.loss for p in record.curve] != [p.loss for p in other.curve]
        assert record.task.data_fingerprint == other.task.data_fingerprint


def test_examples_do_not_depend_on_the_variant_and_differ_between_tasks(
    stores: list[dict[tuple[str, str, int], Record]],
) -> None:
    seen: dict[str, set[str | None]] = {}
    for (_, task, _), record in stores[0].items():
        seen.setdefault(task, set()).add(record.task.data_fingerprint)
    assert all(len(prints) == 1 for prints in seen.values())
    assert len(set.union(*seen.values())) == len(GENERATED)


@pytest.mark.slow
@needs_data
def test_cells_on_real_data_repeat_to_the_last_digit(tmp_path: Path) -> None:
    cells = [*cells_of(["linear"], tasks=REAL)]
    one, two = (results(tmp_path / name, cells) for name in ("one", "two"))
    assert len(one) == len(REAL)
    for cell, record in one.items():
        assert numbers(record) == numbers(two[cell]), cell


def noting(original: Callable[..., Batch], seen: list[Batch]) -> Callable[..., Batch]:
    """Draw as before, and note the batches of training."""

    def draw(split: Split, count: int, source: torch.Generator) -> Batch:
        batch = original(split, count, source)
        if split == "train":
            seen.append(batch)
        return batch

    return draw


def drawn_by(task: Task, variant: str, seed: int) -> list[Batch]:
    """Train with a variant and return the batches that it saw."""
    variants = discover_variants()
    loaded = variants.load(variant)
    slots = Slots(
        task.card.pattern,
        lambda **geometry: build_attention(loaded, {}, **geometry),  # type: ignore[arg-type]
        lambda **geometry: build_attention(variants.load("softmax"), {}, **geometry),  # type: ignore[arg-type]
    )
    seen: list[Batch] = []
    levels = task.at_levels()
    for level in levels:
        level.draw = noting(level.draw, seen)  # type: ignore[method-assign]
    task.at_levels = lambda: levels  # type: ignore[method-assign]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("anything", variant))
        train(task, task.build(slots), Accelerator(cpu=True), seed, lambda done, total: None)
    return seen


@pytest.mark.parametrize("name", [*GENERATED, "digits"])
def test_training_batches_depend_on_the_seed_and_not_on_the_variant(name: str) -> None:
    loaded = discover_tasks().load(name)
    assert issubclass(loaded, Task)

    def batches(variant: str, seed: int) -> list[Batch]:
        return drawn_by(loaded(loaded.recipes["smoke"]), variant, seed)

    def same(one: list[Batch], two: list[Batch]) -> bool:
        return all(torch.equal(a[key], b[key]) for a, b in zip(one, two, strict=True) for key in a)

    first = batches("softmax", 3)
    assert len(first) == loaded.recipes["smoke"].train.steps
    for variant in ("softmax", "none", "linear"):
        assert same(first, batches(variant, 3))
    assert not same(first, batches("softmax", 4))
    assert not same(first[:-1], first[1:])


def test_initialisation_of_the_backbone_depends_on_the_seed(tmp_path: Path) -> None:
    # Without a step of learning to speak of, the metrics are those of the initial model.
    still = {"train.steps": "1", "train.learning_rate": "1e-30"}
    cells = cells_of(["none"], seeds=2, options=still, tasks=("regress",))
    one, two = (one.record for one in run_cells(tmp_path, cells)[0])
    assert one is not None
    assert two is not None
    assert one.metrics != two.metrics


def test_a_time_limit_does_not_change_numbers(tmp_path: Path) -> None:
    (cell,) = cells_of(["none"])
    other = replace(cell, profile=replace(cell.profile, time_limit=50.0, memory_limit=7.5))
    one = results(tmp_path / "one", [cell])
    two = results(tmp_path / "two", [other])
    assert one.keys() == two.keys()
    assert [numbers(r) for r in one.values()] == [numbers(r) for r in two.values()]


def test_seeds_come_from_names_alone_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one = torch.rand(4, generator=generator("mqar", 1, "train", 0))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, torch.rand(4, generator=generator("mqar", 1, "train", 0)))
    assert derive_seed("a", "bc") != derive_seed("ab", "c")
    # Written down, so that no other machine or version may give another number.
    assert derive_seed("mqar", 1, "train", 0) == 6490721075406361269
    assert 0 <= derive_seed("x") < 2**63
