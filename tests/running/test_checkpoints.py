"""Trained weights are kept, come back into the same model, and into no other."""

import ast
import hashlib
import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from cli_support import cab_here, cells_of, run_cells, write_variant
from safetensors.torch import load_file, save_file
from support import REPOSITORY, VARIANTS

from cab.errors import CabError
from cab.profiles import get_profile
from cab.registry import discover_tasks, discover_variants
from cab.running import checkpoints
from cab.running.cells import Cell, Request, plan
from cab.running.trained import build_model, restore
from cab.running.training import evaluate, over_levels

TASKS = discover_tasks()
NOWHERE = Path("/nowhere")


def task_of(cell: Cell):
    return TASKS.load(cell.task.name)(cell.recipe)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cell, Path, object]:
    """A trained cell, the folder of its weights, and its record."""
    folder = tmp_path_factory.mktemp("kept")
    (cell,) = cells_of(["linear"], checkpoints=folder / "weights", options={"chunk": "5"})
    (finished,), _ = run_cells(folder / "store", [cell])
    return cell, folder / "weights", finished.record


def altered(folder: Path, kept: tuple[Cell, Path, object]) -> tuple[Path, Path]:
    """A copy of the checkpoint to spoil: its JSON file and its weights."""
    cell, weights, _ = kept
    shutil.copytree(weights, folder, dirs_exist_ok=True)
    return folder / f"{cell.key}.json", folder / f"{cell.key}.safetensors"


def test_a_restored_cell_scores_what_its_record_says(kept):
    cell, folder, record = kept
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{cell.key}.json",
        f"{cell.key}.safetensors",
    ]
    again = restore(checkpoints.find(folder, "linear"), VARIANTS, TASKS, NOWHERE)
    assert again.cell.key == cell.key
    assert again.cell.options == {"chunk": 5}
    assert not again.model.training
    measured = [
        evaluate(level, again.model, level.examples("test"), Accelerator(cpu=True))
        for level in again.task.at_levels()
    ]
    assert over_levels(measured) == record.metrics.test


def test_the_weights_are_trained_ones(kept):
    cell, folder, _ = kept
    fresh = build_model(cell, task_of(cell)).state_dict()
    stored = load_file(folder / f"{cell.key}.safetensors")
    assert fresh.keys() == stored.keys()
    assert not torch.equal(fresh["embedding.weight"], stored["embedding.weight"])


def test_building_a_model_leaves_the_random_state_alone(kept):
    before = torch.random.get_rng_state()
    build_model(kept[0], task_of(kept[0]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_folder_is_no_part_of_the_key(kept):
    cell, _, _ = kept
    assert replace(cell, checkpoints=None).key == cell.key


@pytest.mark.parametrize("name", VARIANTS.names())
def test_every_variant_comes_back_as_it_was(name, tmp_path):
    request = Request([name], get_profile("smoke"), diagnostic=True)
    cells = [cell for cell in plan(request, VARIANTS, TASKS).cells if not cell.task.data]
    cell = cells[0]
    model = build_model(cell, task_of(cell))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.mul_(1.25)
    manifest = checkpoints.save(model, cell, tmp_path)
    again = build_model(cell, task_of(cell))
    checkpoints.load(manifest, again, cell)
    expected, found = model.state_dict(), again.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_shared_weights_stay_shared(tmp_path):
    (cell,) = cells_of(["softmax"])
    one, two = build_model(cell, task_of(cell)), build_model(cell, task_of(cell))
    one.head.weight = one.embedding.weight
    two.head.weight = two.embedding.weight
    with torch.no_grad():
        one.head.weight.add_(1)
    checkpoints.load(checkpoints.save(one, cell, tmp_path), two, cell)
    assert two.head.weight is two.embedding.weight
    assert torch.equal(one.head.weight, two.head.weight)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"variants": ["softmax"]}, "other variant"),
        ({"variants": ["linear"], "tasks": ("induction",)}, "other settings, task"),
        ({"variants": ["linear"], "options": {"chunk": "6"}}, "other settings"),
        ({"variants": ["linear"], "options": {"chunk": "5", "model.layers": "2"}}, "other recipe"),
        (
            {"variants": ["linear"], "options": {"chunk": "5"}, "unchecked": True},
            "other check of the laws",
        ),
    ],
)
def test_the_weights_of_another_cell_are_refused(kept, other, said):
    _, folder, _ = kept
    (cell,) = cells_of(**other)
    model = build_model(cell, task_of(cell))
    with pytest.raises(CabError, match=f"linear on mqar.*{said}"):
        checkpoints.load(checkpoints.find(folder, "linear"), model, cell)


def test_weights_of_other_shapes_are_refused_by_name_and_shape(kept, tmp_path):
    manifest, weights = altered(tmp_path, kept)
    tensors = load_file(weights)
    tensors["head.weight"] = tensors["head.weight"][:, :3].contiguous()
    save_file(tensors, weights)
    reseal(manifest, weights)
    cell = kept[0]
    with pytest.raises(CabError, match=r"does not fit.*head\.weight.*\[16, 3\].*\[16, 16\]"):
        checkpoints.load(manifest, build_model(cell, task_of(cell)), cell)


def test_weights_that_lack_a_tensor_are_refused_by_its_name(kept, tmp_path):
    manifest, weights = altered(tmp_path, kept)
    tensors = load_file(weights)
    del tensors["norm.bias"]
    save_file(tensors, weights)
    reseal(manifest, weights)
    cell = kept[0]
    with pytest.raises(CabError, match=r"Missing key.*norm\.bias"):
        checkpoints.load(manifest, build_model(cell, task_of(cell)), cell)


def reseal(manifest: Path, weights: Path) -> None:
    """Give altered weights a checksum that fits, so that only their content is wrong."""
    document = json.loads(manifest.read_text())
    document["sha256"] = checkpoints._checksum(weights)
    manifest.write_text(json.dumps(document))


def test_a_file_that_is_no_safetensors_is_refused(kept, tmp_path):
    manifest, weights = altered(tmp_path, kept)
    weights.write_bytes(b"\x80\x04cos\nsystem\n.")
    cell = kept[0]
    model = build_model(cell, task_of(cell))
    with pytest.raises(CabError, match="checksum"):
        checkpoints.load(manifest, model, cell)
    reseal(manifest, weights)
    with pytest.raises(CabError, match="does not fit"):
        checkpoints.load(manifest, model, cell)
    weights.unlink()
    with pytest.raises(CabError, match="cannot be read"):
        checkpoints.load(manifest, model, cell)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"key": "x"}'])
def test_a_description_that_is_none_is_refused(text, kept, tmp_path):
    manifest, _ = altered(tmp_path, kept)
    manifest.write_text(text)
    with pytest.raises(CabError, match="is not a checkpoint"):
        checkpoints.read(manifest)


def test_a_changed_source_is_refused(tmp_path):
    path = write_variant(tmp_path, "mine")
    (cell,) = cells_of(["mine"], include=[path], checkpoints=tmp_path / "weights")
    manifest = checkpoints.save(build_model(cell, task_of(cell)), cell, tmp_path / "weights")
    registry = discover_variants((path,))
    assert restore(manifest, registry, TASKS, NOWHERE, (path,)).cell.key == cell.key
    write_variant(tmp_path, "mine", "return 2 * q")
    with pytest.raises(CabError, match="the source is not what was recorded"):
        restore(manifest, discover_variants((path,)), TASKS, NOWHERE, (path,))


def test_a_folder_is_searched_by_variant_and_task(kept, tmp_path):
    cell, folder, _ = kept
    found = folder / f"{cell.key}.json"
    assert checkpoints.find(folder, "linear") == found
    assert checkpoints.find(folder, "linear", "mqar") == found
    assert checkpoints.find(found.with_suffix(".safetensors"), "linear") == found
    with pytest.raises(CabError, match=r"no checkpoint of softmax.*linear on mqar.*chunk=5"):
        checkpoints.find(folder, "softmax")
    with pytest.raises(CabError, match="not of linear on digits"):
        checkpoints.find(found, "linear", "digits")
    with pytest.raises(CabError, match="It has: none"):
        checkpoints.find(tmp_path, "linear")
    altered(tmp_path, kept)
    other = replace(cell, seed=7)
    checkpoints.save(build_model(other, task_of(other)), other, tmp_path)
    with pytest.raises(CabError, match=r"2 checkpoints of linear; give one of the files.*seed 7"):
        checkpoints.find(tmp_path, "linear")


def test_a_folder_that_cannot_be_written_is_said(kept, tmp_path):
    (tmp_path / "file").write_text("")
    cell = kept[0]
    with pytest.raises(CabError, match="cannot be saved"):
        checkpoints.save(build_model(cell, task_of(cell)), cell, tmp_path / "file")


def test_run_keeps_weights_and_says_which_it_did_not(tmp_path):
    arguments = ("run", "--variant", "none", "--task", "mqar", "--profile", "smoke")
    arguments += ("--unchecked", "--tracking", "none", "--store", tmp_path / "store")
    assert cab_here(*arguments).code == 0
    weights = tmp_path / "weights"
    said = cab_here(*arguments, "--checkpoints", weights)
    assert said.code == 0
    assert "No weights are saved for cells that finished before" in said.err
    assert not weights.exists()
    said = cab_here(*arguments, "--checkpoints", weights, "--force")
    assert said.code == 0, said.err
    assert "No weights are saved" not in said.err
    manifest = checkpoints.find(weights, "none")
    assert checkpoints.read(manifest).title == "none on mqar (smoke), seed 0"
    assert restore(manifest, VARIANTS, TASKS, NOWHERE).cell.unchecked


SOURCES = [
    path
    for folder in ("cab", "kernels", "site", "tasks", "tests", "variants")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
UNSAFE = {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load"}


def unsafe_calls(text: str) -> list[str]:
    """The calls that could run code out of a file of weights."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {one.arg: ast.unparse(one.value) for one in node.keywords}
        unsafe = called == "torch.load" and options.get("weights_only") != "True"
        if unsafe or called in UNSAFE or options.get("allow_pickle") == "True":
            found.append(f"line {node.lineno}: {called}")
    return found


def test_nothing_is_ever_unpickled():
    found = {path: unsafe_calls(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {str(path): calls for path, calls in found.items() if calls} == {}


def test_the_search_for_unpickling_finds_it():
    for text in (
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "pickle.load(f)",
        "np.load(f, allow_pickle=True)",
    ):
        assert unsafe_calls(text) == [f"line 1: {text.split('(')[0]}"]
    assert unsafe_calls("torch.load(f, weights_only=True)") == []


def test_weights_that_are_not_finite_are_refused(kept, tmp_path):
    manifest, weights = altered(tmp_path / "nan", kept)
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    tensors[name][0] = float("nan")
    save_file(tensors, weights)
    content = json.loads(manifest.read_text())
    content["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))
    with pytest.raises(CabError, match=r"not finite .*first of 1 parameter"):
        restore(manifest, VARIANTS, TASKS, NOWHERE)


def test_a_full_disk_leaves_the_weights_that_were_there(kept, tmp_path):
    cell = kept[0]
    manifest, _ = altered(tmp_path / "full", kept)
    before = {path.name: path.read_bytes() for path in manifest.parent.iterdir()}
    model = build_model(cell, task_of(cell))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(CabError, match="weights cannot be saved"):
            checkpoints.save(model, cell, manifest.parent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in manifest.parent.iterdir()} == before
