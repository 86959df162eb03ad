"""Precision, compilation and stored activations: recorded options of training alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from cli_support import cab_here, cells_of, run_cells
from task_support import TASKS, make, softmax_slots
from torch import nn

from cab.attention import Attention
from cab.profiles import get_profile
from cab.records.store import RecordStore
from cab.running.training import Trained, train
from cab.task import Task, Training

SCORED = [card.name for card in TASKS.cards() if card.in_row("quick") and not card.data]


def with_training(task: Task, **changes: object) -> Task:
    settings = replace(task.recipe.train, **changes)
    return type(task)(replace(task.recipe, train=settings))


def trained(task: Task) -> tuple[Trained, nn.Module, dict[bool, set[torch.dtype]]]:
    """Train with softmax; return also what the attention got, by whether it was training."""
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen[module.training].add(output.dtype)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(softmax_slots(task.card.pattern))
        for module in model.modules():
            if isinstance(module, Attention):
                module.register_forward_hook(note)
        return train(task, model, Accelerator(cpu=True), 1, lambda done, total: None), model, seen


@pytest.mark.parametrize("name", SCORED)
def test_every_scored_task_trains_in_bfloat16_and_is_tested_in_float32(name: str) -> None:
    task = make(name, "smoke")
    usual, _, all_float32 = trained(task)
    assert all_float32 == {True: {torch.float32}, False: {torch.float32}}
    half, model, seen = trained(with_training(task, precision="bf16"))
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert not model._forward_hooks
    assert half.tokens == usual.tokens
    for one, two in zip(half.curve, usual.curve, strict=True):
        assert one.loss == pytest.approx(two.loss, rel=0.05)
    assert [one.loss for one in half.curve] != [one.loss for one in usual.curve]


def test_a_recipe_names_what_is_not_the_default_and_its_key_depends_on_it() -> None:
    (usual,) = cells_of(["softmax"])
    named = {
        "train.precision": "float32",
        "train.compile": "false",
        "train.activations": "float32",
    }
    (same,) = cells_of(["softmax"], options=named)
    assert same.key == usual.key
    assert not {"precision", "compile", "activations"} & usual.recipe.as_dict()["train"].keys()
    keys = {usual.key}
    for name, value, said in (
        ("precision", "bf16", "bf16"),
        ("compile", "true", True),
        ("activations", "int8", "int8"),
    ):
        (cell,) = cells_of(["softmax"], options={f"train.{name}": value})
        assert cell.recipe.as_dict()["train"][name] == said
        assert cell.changed == {f"train.{name}": said}
        keys.add(cell.key)
    assert len(keys) == 4


def test_a_precision_that_is_none_is_refused_with_those_there_are() -> None:
    said = cab_here("run", "--variant", "mean", "--task", "mqar", "--set", "train.precision=half")
    assert said.code == 2
    assert "float32" in said.err
    assert "bf16" in said.err
    with pytest.raises(ValueError, match="precision must be one of float32, bf16"):
        Training(1, 1, 0.1, precision="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="activations must be one of float32, int8"):
        Training(1, 1, 0.1, activations="int4")  # type: ignore[arg-type]
    for other in ({"precision": "bf16"}, {"compile": True}):
        with pytest.raises(ValueError, match="activations in int8 need precision float32"):
            Training(1, 1, 0.1, activations="int8", **other)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("activations=int4",), "activations: Input should be 'float32' or 'int8'"),
        (("activations=int8", "precision=bf16"), "int8 need precision float32"),
        (("activations=int8", "compile=true"), "int8 need precision float32 and no compilation"),
    ],
)
def test_the_program_refuses_other_activations_in_a_sentence(settings, said: str) -> None:
    given = [word for one in settings for word in ("--set", f"train.{one}")]
    found = cab_here("run", "--variant", "mean", "--task", "mqar", *given)
    assert found.code == 2
    assert said in found.err


def test_a_record_says_that_training_was_in_bfloat16(tmp_path: Path) -> None:
    run = ("run", "--variant", "mean", "--task", "mqar", "--profile", "smoke", "--unchecked")
    how = ("--set", "train.precision=bf16", "--tracking", "none", "--store", tmp_path, "--json")
    (cell,) = cab_here(*run, *how, "--device", "cpu").document["cells"]
    assert cell["status"] == "ok", cell["message"]
    record = RecordStore(tmp_path).read(cell["key"])
    assert record is not None
    assert record.settings.recipe["train"]["precision"] == "bf16"
    assert record.settings.changed == {"train.precision": "bf16"}
    (row,) = cab_here("show", "--profile", "smoke", "--store", tmp_path, "--json").document["rows"]
    assert row["entry"] == "mean (train.precision=bf16, unchecked)"


@pytest.mark.slow
def test_a_compiled_cell_learns_as_one_that_is_not(tmp_path: Path) -> None:
    patient = replace(get_profile("smoke"), time_limit=900.0)  # a compiler takes a minute
    cells = [
        cell
        for compiled in ("false", "true")
        for cell in cells_of(["softmax"], profile=patient, options={"train.compile": compiled})
    ]
    one, two = (one.record for one in run_cells(tmp_path, cells)[0])
    assert one is not None
    assert two is not None
    assert (one.status, two.status) == ("ok", "ok"), two.message
    assert two.settings.recipe["train"]["compile"] is True
    for before, after in zip(one.curve, two.curve, strict=True):
        assert after.loss == pytest.approx(before.loss, rel=1e-3)
