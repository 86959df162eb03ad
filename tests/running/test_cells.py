"""Cells: a key names all that changes a result and nothing else; plans are checked first."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_support import cells_of, environment, write_variant
from hypothesis import given
from hypothesis import strategies as st
from support import HELPERS

from cab.backbones.slots import Slots
from cab.errors import CabError, UnknownName
from cab.profiles import get_profile
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell, Request, plan
from cab.running.estimates import data_needed
from cab.running.worker import slots_for
from cab.taxonomy import Domain, Pattern

VARIANTS, TASKS = discover_variants(), discover_tasks()


def planned(**asked: Any) -> tuple[Cell, ...]:
    request = {"variants": ["window"], "profile": get_profile("smoke"), "tasks": ["mqar"]} | asked
    return plan(Request(**request), VARIANTS, TASKS).cells


def key(**asked: Any) -> str:
    (cell,) = planned(**asked)
    return cell.key


def test_a_key_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cli_support import cells_of\n"
        "print(*(cell.key for cell in cells_of(['window', 'none'], seeds=2)))"
    )
    keys = [cell.key for cell in cells_of(["window", "none"], seeds=2)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(HELPERS)],
        env=environment(PYTHONHASHSEED="1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == keys


def test_every_thing_that_changes_a_result_changes_the_key() -> None:
    (cell,) = planned()
    train = dataclasses.replace(cell.recipe.train, learning_rate=0.5)
    changed = {
        "the source": {"source_hash": "0" * 64},
        "the variant": {"variant": dataclasses.replace(cell.variant, name="other")},
        "a setting": {"config": {"window": 17}},
        "the task": {"task": dataclasses.replace(cell.task, name="other")},
        "the task's version": {"task": dataclasses.replace(cell.task, version=99)},
        "the seed": {"seed": 1},
        "the profile": {"profile": get_profile("quick")},
        "the training": {"recipe": dataclasses.replace(cell.recipe, train=train)},
        "the examples": {"recipe": dataclasses.replace(cell.recipe, test_examples=51)},
    }
    keys = {what: dataclasses.replace(cell, **how).key for what, how in changed.items()}
    assert len({cell.key, *keys.values()}) == 1 + len(changed)


def test_what_changes_no_result_does_not_change_the_key() -> None:
    (cell,) = planned()
    limits = dataclasses.replace(cell.profile, time_limit=1.0, memory_limit=99.0, summary="other")
    for how in ({"include": (Path("/elsewhere/x.py"),)}, {"profile": limits}):
        assert dataclasses.replace(cell, **how).key == cell.key


def test_the_major_version_of_the_package_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr("cab.__version__", "0.99.7")
    assert key() == before
    monkeypatch.setattr("cab.__version__", "1.0.0")
    assert key() != before


def test_the_same_file_in_another_folder_has_the_same_key(tmp_path: Path) -> None:
    path = write_variant(tmp_path, "mine")
    (tmp_path / "other").mkdir()
    moved = Path(shutil.copy(path, tmp_path / "other" / "renamed.py"))
    (one,), (two,) = cells_of(["mine"], include=[path]), cells_of(["mine"], include=[moved])
    assert one.key == two.key


def test_code_counts_for_the_key_and_comments_layout_and_docstrings_do_not(tmp_path: Path) -> None:
    path = write_variant(tmp_path, "mine", "return q")
    (cell,) = cells_of(["mine"], include=[path])
    text = path.read_text()
    for same in ("# a comment\n" + text, '"""A docstring."""\n\n\n' + text, text + "\n\n"):
        path.write_text(same)
        assert cells_of(["mine"], include=[path])[0].key == cell.key
    path.write_text(text.replace("return q", "return q + 0"))
    assert cells_of(["mine"], include=[path])[0].key != cell.key


@pytest.mark.parametrize("text", ["16", "016", "16.0"])
def test_a_setting_at_its_default_is_the_same_cell(text: str) -> None:
    (plain,), (given_,) = planned(), planned(options={"window": text})
    assert given_.key == plain.key
    assert given_.options == plain.options == {}


def test_a_training_setting_at_its_own_value_is_the_same_cell() -> None:
    (plain,) = planned()
    same = {f"train.{k}": str(v) for k, v in dataclasses.asdict(plain.recipe.train).items()}
    (given_,) = planned(options=same)
    assert given_.key == plain.key
    assert given_.changed == {}
    (other,) = planned(options={"train.steps": "5"})
    assert other.changed == {"train.steps": 5}
    assert other.recipe.train.steps == 5


@given(
    st.lists(
        st.tuples(st.integers(1, 500), st.integers(1, 5000), st.integers(1, 4)),
        min_size=2,
        max_size=5,
        unique=True,
    )
)
def test_different_settings_never_share_a_key(asked: list[tuple[int, int, int]]) -> None:
    keys = []
    for window, steps, seeds in asked:
        options = {"window": str(window), "train.steps": str(steps)}
        keys.append(planned(options=options, seeds=seeds)[-1].key)
    assert len(set(keys)) == len(asked)


def test_a_plan_is_the_product_of_variants_tasks_and_seeds_each_once() -> None:
    cells = planned(
        variants=["softmax", "none", "softmax"], tasks=["regress", "mqar", "regress"], seeds=3
    )
    keys = [cell.key for cell in cells]
    assert len(cells) == len(set(keys)) == 2 * 2 * 3
    assert {cell.seed for cell in cells} == {0, 1, 2}


def test_selections_by_pattern_and_domain_narrow_the_plan_together() -> None:
    everything = {name for name in TASKS.names() if "smoke" in TASKS.load(name).recipes}
    one = planned(variants=["softmax"], tasks=[], diagnostic=True)
    assert {cell.task.name for cell in one} == everything
    for chosen in (
        planned(variants=["softmax"], tasks=[], patterns=[Pattern.CS]),
        planned(variants=["softmax"], tasks=[], domains=[Domain.LANGUAGE], diagnostic=True),
    ):
        assert {cell.task.name for cell in chosen} < everything
    both = planned(
        variants=["softmax"],
        tasks=[],
        patterns=[Pattern.CS],
        domains=[Domain.LANGUAGE],
        diagnostic=True,
    )
    assert {(cell.task.pattern, cell.task.domain) for cell in both} == {("cs", "language")}


def test_tasks_that_a_variant_does_not_support_are_left_out_with_a_sentence() -> None:
    request = Request(variants=["window"], profile=get_profile("smoke"))
    made = plan(request, VARIANTS, TASKS)
    row = [card for card in TASKS.cards() if card.in_row("quick") and card.slot == "mixer"]
    offered = {card.name for card in row if card.pattern in ("ns", "cs")}
    assert {cell.task.name for cell in made.cells} == offered
    (sentence,) = made.left_out
    others = ", ".join(card.name for card in row if card.name not in offered)
    assert sentence.startswith("window does not support ")
    assert sentence.endswith(f", only ns, cs. Skipped: {others}.")


def test_a_row_is_what_is_scored_and_more_on_request() -> None:
    quick = get_profile("quick")
    row = {cell.task.name for cell in planned(tasks=(), variants=["softmax"], profile=quick)}
    scored = {card.name for card in TASKS.cards() if card.in_row("quick")}
    gates = {card.name for card in TASKS.cards() if card.slot == "feature_map"}
    assert scored <= row <= scored | gates
    more = planned(tasks=(), variants=["softmax"], profile=quick, diagnostic=True)
    assert row | {"byte-lm", "forecast"} <= {cell.task.name for cell in more}


def test_gates_of_feature_maps_have_tasks_of_their_own() -> None:
    row = {cell.task.name for cell in planned(tasks=(), variants=["se"])}
    assert row == {card.name for card in TASKS.cards() if card.slot == "feature_map"}
    with pytest.raises(CabError, match="mixes tokens"):
        planned(tasks=["digits-residual"])
    with pytest.raises(CabError, match="has none"):
        planned(variants=["se"], tasks=["digits"])


def test_a_pattern_asked_for_by_name_and_not_offered_is_an_error() -> None:
    for asked in ({"tasks": ["regress"]}, {"tasks": [], "patterns": [Pattern.NC]}):
        with pytest.raises(CabError, match=r"window does not support nc \(noncausal cross\)"):
            planned(**asked)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"variants": ["windw"]}, ["variant", "windw", "Did you mean window"]),
        ({"variants": ["softmax", "qqq"]}, ["variant", "qqq"]),
        ({"tasks": ["mqr"]}, ["task", "mqr", "Did you mean mqar"]),
        ({"options": {"windw": "3"}}, ["setting of variant window", "Did you mean window"]),
        ({"variants": ["softmax"], "options": {"a": "3"}}, ["softmax has no settings", "'a'"]),
        ({"options": {"train.step": "3"}}, ["training of mqar", "Did you mean steps"]),
        ({"options": {"window": "wide"}}, ["variant window", "window", "integer"]),
        ({"options": {"window": "0"}}, ["variant window", "at least 1"]),
        ({"options": {"window": "1.5"}}, ["variant window", "integer"]),
        ({"options": {"train.steps": "0"}}, ["training of mqar", "at least 1"]),
        ({"options": {"train.warmup": "2"}}, ["training of mqar", "between 0 and 1"]),
        ({"options": {"train.learning_rate": "fast"}}, ["training of mqar", "learning_rate"]),
    ],
)
def test_a_request_that_cannot_be_is_refused_with_a_sentence_that_helps(
    asked: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(CabError) as refused:
        planned(**asked)
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "gradient_clip"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_setting_that_is_not_finite_is_refused(name: str, value: str) -> None:
    # A record holds no such number, so the cell could not be stored.
    with pytest.raises(CabError, match=name):
        planned(options={f"train.{name}": value})


def test_heads_that_one_variant_alone_does_not_take_are_refused_before_they_run() -> None:
    sizes = {"model.dim": "20", "model.heads": "4"}
    assert planned(variants=["softmax"], options=sizes)
    with pytest.raises(CabError, match=r"^mqar with these settings: diff .* width 5 is odd\.$"):
        planned(variants=["softmax", "diff"], options=sizes)
    every = {"variants": ["softmax", "diff"], "options": sizes, "every": True, "tasks": ["mqar"]}
    found = plan(Request(profile=get_profile("smoke"), **every), VARIANTS, TASKS)
    assert {cell.variant.name for cell in found.cells} == {"softmax"}
    assert any("width 5 is odd" in sentence for sentence in found.left_out)


def test_an_empty_selection_is_refused_with_what_there_is() -> None:
    with pytest.raises(CabError, match="mqar is cs, retrieval"):
        planned(patterns=[Pattern.NS])
    with pytest.raises(CabError, match="No task matches the selection"):
        planned(tasks=["byte-lm"], domains=[Domain.VISION])


def test_unknown_names_are_their_own_kind_of_error() -> None:
    for asked in ({"variants": ["zzz"]}, {"tasks": ["zzz"]}, {"options": {"zzz": "1"}}):
        with pytest.raises(UnknownName):
            planned(**asked)


def test_the_data_that_cells_need_is_named_once() -> None:
    cells = planned(variants=["softmax", "none"], tasks=["byte-lm", "forecast", "mqar"], seeds=2)
    assert data_needed(cells) == ["tinyshakespeare", "etth1"]


def test_the_content_of_a_key_is_plain_json() -> None:
    (cell,) = planned()
    json.dumps(cell.recipe.as_dict(), allow_nan=False)
    assert len(cell.key) == 32
    assert set(cell.key) <= set("0123456789abcdef")


def test_a_hybrid_alternates_with_the_reference_and_is_another_cell() -> None:
    sized = {"model.layers": "7", "train.steps": "2"}
    plain = planned(options=sized)[0]
    (cell,) = planned(options={**sized, "model.hybrid": "2"})
    assert cell.key != plain.key
    assert cell.changed == {"model.layers": 7, "model.hybrid": 2, "train.steps": 2}
    names = [type(module).__name__ for _, _, module in slots_of(cell).filled]
    assert names == ["WindowAttention", "WindowAttention", "SoftmaxAttention"] * 2 + [
        "WindowAttention"
    ]
    assert len(slots_of(cell).tested) == 5


def test_a_hybrid_needs_layers_and_a_decoder() -> None:
    with pytest.raises(CabError, match=r"hybrid = 6 needs at least 7 layers.*model\.layers=7"):
        planned(options={"model.hybrid": "6"})
    deep = {"model.hybrid": "1", "model.layers": "2"}
    with pytest.raises(
        CabError, match="--hybrid needs a task of pattern cs; digits has pattern ns"
    ):
        planned(tasks=["digits"], options=deep)
    request = Request(["window"], get_profile("smoke"), options=deep)
    every = plan(request, VARIANTS, TASKS)
    assert {cell.task.pattern for cell in every.cells} == {Pattern.CS}
    assert any("--hybrid needs a task of pattern cs" in sentence for sentence in every.left_out)


def test_an_unknown_size_of_the_backbone_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownName, match=r"model\.\*.*'layer'.*layers"):
        planned(options={"model.layer": "3"})


@pytest.mark.parametrize(("task", "factor"), [("mqar", 4), ("induction", 1)])
def test_attentions_know_how_long_the_sequences_of_training_are(task: str, factor: int) -> None:
    cell, *_ = planned(tasks=[task])
    (module, *_) = slots_of(cell).tested
    assert module.max_length == factor * module.train_length


def slots_of(cell: Cell) -> Slots:
    task = TASKS.load(cell.task.name)(cell.recipe)
    slots = slots_for(cell, task)
    task.build(slots)
    return slots
