"""Every task: its examples are fixed, its splits share nothing, its measures are per example."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from support import REPOSITORY

from cab.attention import build_attention
from cab.backbones.slots import Slots
from cab.registry import discover_tasks, discover_variants
from cab.running.facts import fingerprint
from cab.seeding import generator
from cab.task import SPLITS, Task
from cab.tasks.retrieval.mqar import Recall, generate

sys.path.insert(0, str(REPOSITORY / "tests" / "golden"))

from first_examples import golden, processor, sketch
from write import EMBEDDED, read_examples, recipe_hashes

TASKS = discover_tasks()
DATA = os.environ.get("CAB_DATA")

# The first 100 test and the first 100 training examples, per profile. A change here means a change
# of the task: raise its version, then run tests/golden/write.py.
EXAMPLES = read_examples()
# sha256 of each recipe, per task, version and profile: one that changes raises the version.
RECIPES = json.loads((REPOSITORY / "tests" / "golden" / "recipes.json").read_text())


SETTINGS = [
    (name, profile)
    for name in TASKS.names()
    for profile in sorted(EMBEDDED & TASKS.load(name).recipes.keys())
]
SMALL = [name for name, profile in SETTINGS if profile == "smoke"]


def make(name: str, profile: str = "quick") -> Task:
    card = TASKS.card(name)
    if card.data and DATA is None:
        pytest.skip(f"{name} needs real data: set CAB_DATA")
    task_class = TASKS.load(name)
    assert issubclass(task_class, Task)
    return task_class(task_class.recipes[profile], Path(DATA) if DATA else None)


@pytest.mark.parametrize(("name", "profile"), SETTINGS)
def test_the_first_examples_are_the_published_ones(name, profile):
    drawn = golden(make(name, profile))
    published = EXAMPLES[f"{name} v{TASKS.card(name).version} {profile}"]
    assert drawn.agrees(published), (drawn, published)
    if (bits := published.bits_on(processor())) is not None:
        assert drawn.bits_on(processor()) == bits, "only rounding differs from this kind's"


def test_rounding_leaves_a_sketch_and_one_changed_value_does_not():
    values = torch.randn(100, 20, 330, generator=generator("sketched"))
    kept = sketch(values)
    noise = torch.randn(values.shape, generator=generator("noise"))
    assert sketch(values * (1 + 6e-6 * noise)).agrees(kept)
    changed = values.clone()
    changed[50, 10, 100] += 1
    assert not sketch(changed).agrees(kept)
    assert not sketch(values.flip(0)).agrees(kept)
    assert not sketch(values.flatten(1)).agrees(kept)


def test_recipes_change_only_with_their_version():
    assert recipe_hashes() == RECIPES


@pytest.mark.parametrize("name", SMALL)
def test_equal_generators_draw_equal_examples_and_leave_the_global_one_alone(name):
    task = make(name, "smoke")
    before = torch.get_rng_state()
    first, second = (task.draw("train", 9, generator("equal", 1)) for _ in range(2))
    other = task.draw("train", 9, generator("equal", 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def rows(batch: dict[str, torch.Tensor]) -> set[str]:
    names = sorted(batch)
    count = len(batch[names[0]])
    return {fingerprint({key: batch[key][row] for key in names}) for row in range(count)}


@pytest.mark.parametrize("name", ["digits", "mqar", "regress"])
def test_splits_share_no_example(name):
    task = make(name)
    drawn = {split: rows(task.draw(split, 300, generator("disjoint", split))) for split in SPLITS}
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["valid"]
    assert not drawn["valid"] & drawn["test"]


def test_no_digit_image_is_in_two_splits():
    task = make("digits")
    images = {split: rows({"image": task._images[split][0]}) for split in SPLITS}
    assert sum(map(len, images.values())) == 1797
    assert len(set.union(*images.values())) == 1797


def test_digits_are_whole_and_stand_anywhere():
    task = make("digits")
    batch = task.draw("test", 400, generator("places"))
    pictures = torch.nn.functional.fold(batch["inputs"].mT, 14, 2, stride=2).squeeze(1)
    images, targets = task._images["test"]
    assert torch.allclose(pictures.sum(dim=(1, 2)), images.sum(dim=(1, 2)))
    assert torch.equal(batch["targets"], targets)
    corners = [torch.nonzero(picture).amin(dim=0).tolist() for picture in pictures]
    assert {row for row, _ in corners} >= set(range(7))
    assert {column for _, column in corners} >= set(range(7))


def test_mqar_asks_every_key_once_for_the_value_that_followed_it():
    task = make("mqar")
    params = task.recipe.data
    batch = task.draw("train", 64, generator("mqar properties"))
    for inputs, labels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        keys = inputs[0 : 2 * params.pairs : 2]
        values = inputs[1 : 2 * params.pairs : 2]
        assert len(set(keys)) == len(set(values)) == params.pairs
        assert all(1 <= key < params.vocabulary // 2 for key in keys)
        assert all(params.vocabulary // 2 <= value < params.vocabulary for value in values)
        asked = [place for place, label in enumerate(labels) if label != -100]
        assert all(place >= 2 * params.pairs and place % 2 == 0 for place in asked)
        answers = {inputs[place]: labels[place] for place in asked}
        assert answers == dict(zip(keys, values, strict=True))
        rest = [t for p, t in enumerate(inputs) if p >= 2 * params.pairs and p not in asked]
        assert set(rest) <= {0}


def test_mqar_queries_lean_to_the_front_as_the_power_law_says():
    # With more slots than questions: at the levels of the task every slot is asked.
    params = Recall(length=128, pairs=16, vocabulary=64)
    asked = generate(params, 2000, generator("mqar slots"))[1] != -100
    share = asked.float().mean(dim=0)[2 * params.pairs :: 2]
    assert share[0] > 0.95
    assert share[:10].mean() > 2 * share[-10:].mean()


def test_regress_has_variance_one_and_noise_as_told():
    task = make("regress")
    batch = task.draw("train", 4000, generator("variance"))
    assert abs(batch["targets"].square().mean() - 1) < 0.05
    noise = task.recipe.data.noise
    assert abs(batch["values"].square().mean() - 1 - noise**2) < 0.05


def test_forecast_never_trains_on_a_month_it_is_tested_on():
    task = make("forecast")
    series = task._series
    history = task.recipe.data.history
    assert len(series["train"]) == 12 * 30 * 24
    assert len(series["valid"]) == len(series["test"]) == 4 * 30 * 24 + history
    assert torch.allclose(series["train"].mean(dim=0), torch.zeros(7), atol=1e-4)
    assert torch.equal(series["valid"][:history], series["train"][-history:])


@pytest.mark.parametrize("name", SMALL)
def test_a_metric_is_one_value_per_example_and_shortcuts_are_in_its_unit(name):
    task = make(name, "smoke")
    batch = task.draw("test", 11, generator("metrics"))
    softmax = discover_variants().load("softmax")

    def factory(**geometry):
        return build_attention(softmax, {}, **geometry)

    model = task.build(Slots(task.card.pattern, factory, factory)).eval()
    with torch.no_grad():
        metrics = task.evaluate(model, batch)
    assert task.card.metric in metrics
    assert all(values.shape == (11,) for values in metrics.values())
    assert all(values.shape == (11,) for values in task.shortcuts(batch).values())
    assert task.loss(model, batch).ndim == 0
