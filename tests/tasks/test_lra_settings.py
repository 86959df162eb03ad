"""Long Range Arena twice: LRA's own configurations and those of S4, told apart by name."""

import math

import pytest
import torch

from cab.registry import discover_tasks
from cab.running.optimisation import factor
from cab.taxonomy import of_suite

TASKS = discover_tasks()
COLUMNS = {
    "listops": "ListOps",
    "text": "Text",
    "match": "Retrieval",
    "image": "Image",
    "pathfinder": "Pathfinder",
    "pathx": "Path-X",
}


@pytest.mark.parametrize(("suite", "ending"), [("lra", "-lra"), ("lra-s4", "-s4")])
def test_a_suite_has_lra_s_six_columns_and_none_is_scored(suite, ending):
    cards = of_suite(TASKS.cards(), suite)
    found = {card.name.removesuffix(ending): card.suites[suite]["accuracy"] for card in cards}
    assert found == COLUMNS
    for card in cards:
        assert card.name.endswith(ending)
        assert not card.scored_in("full")
        assert "full" in TASKS.load(card.name).recipes


@pytest.mark.parametrize(
    ("name", "dim", "heads", "layers", "hidden", "batch", "steps", "decay", "dropout", "pool"),
    [
        ("listops-lra", 512, 8, 4, 1024, 32, 5_000, 0.1, 0.1, "cls"),
        ("text-lra", 256, 4, 4, 1024, 32, 20_000, 0.1, 0.1, "cls"),
        ("match-lra", 128, 4, 4, 512, 32, 5_000, 0.1, 0.1, "cls"),
        ("image-lra", 128, 8, 1, 128, 256, 35_000, 0.0, 0.3, "cls"),
        ("pathfinder-lra", 32, 4, 4, 32, 512, 62_400, 0.0, 0.2, "mean"),
        ("pathx-lra", 32, 2, 1, 32, 64, 500_000, 0.0, 0.1, "mean"),
    ],
)
def test_lra_s_own_settings_are_those_of_its_repository(
    name, dim, heads, layers, hidden, batch, steps, decay, dropout, pool
):
    recipe = TASKS.load(name).recipes["full"]
    width, train = recipe.model.width, recipe.train
    assert (width.dim, width.heads, width.layers) == (dim, heads, layers)
    assert (width.expansion * width.dim, width.dropout) == (hidden, dropout)
    assert (train.batch_size, train.steps, train.weight_decay) == (batch, steps, decay)
    assert (train.betas, train.epsilon, train.keep) == ((0.9, 0.98), 1e-9, "last")
    assert recipe.model.pool == pool


@pytest.mark.parametrize(
    ("name", "warmup"), [("listops-lra", 1_000), ("text-lra", 8_000), ("match-lra", 8_000)]
)
def test_the_rate_on_texts_is_lra_s_product_of_factors(name, warmup):
    train = TASKS.load(name).recipes["full"].train
    for step in (1, 500, 999, 1_000, 1_001, 4_999, 5_000):
        published = 0.05 * min(1.0, step / warmup) / math.sqrt(max(step, warmup))
        assert train.learning_rate * factor(train, step) == pytest.approx(published, rel=1e-9)


def test_the_rate_on_pictures_rises_for_an_epoch_and_falls_on_a_cosine():
    train = TASKS.load("image-lra").recipes["full"].train
    assert train.learning_rate * factor(train, 175) == pytest.approx(5e-4)
    assert factor(train, 35_000) == pytest.approx(0, abs=1e-9)
    assert factor(train, (175 + 35_000) // 2) == pytest.approx(0.5, abs=1e-4)
    assert TASKS.load("pathx-lra").recipes["full"].train.gradient_clip == 1.0


@pytest.mark.parametrize(
    ("name", "dim", "batch", "steps", "rate", "length"),
    [
        ("listops-s4", 256, 32, 120_000, 0.01, 1_999),
        ("text-s4", 256, 16, 50_000, 0.01, 4_096),
        ("match-s4", 256, 64, 50_000, 0.01, 4_000),
        ("image-s4", 512, 50, 180_000, 0.01, 1_024),
        ("pathfinder-s4", 256, 64, 500_000, 0.004, 1_024),
        ("pathx-s4", 256, 16, 500_000, 0.001, 16_384),
    ],
)
def test_s4_s_settings_are_those_of_its_repository(name, dim, batch, steps, rate, length):
    recipe = TASKS.load(name).recipes["full"]
    train = recipe.train
    assert (recipe.model.width.dim, recipe.model.width.layers) == (dim, 6)
    assert (train.batch_size, train.steps, train.learning_rate) == (batch, steps, rate)
    assert (train.weight_decay, train.warmup, train.schedule) == (0.05, 0.1, "cosine")
    assert recipe.model.length == length
    assert recipe.model.pool == "mean"


def test_retrieval_joins_two_vectors_in_lra_and_four_in_s4():
    joins = {
        name: TASKS.load(name).recipes["full"].model.join for name in ("match-lra", "match-s4")
    }
    assert joins == {"match-lra": "ends", "match-s4": "products"}


def test_what_can_be_guessed_of_lra_s_listops_stays_visible():
    task_class = TASKS.load("listops-s4")
    task = task_class(task_class.recipes["full"])
    drawn = task.draw("test", 3, torch.Generator().manual_seed(0))
    assert {"majority", "root operator", "depth one"} <= set(task.shortcuts(drawn))
    assert "0.36 to 0.37" in TASKS.card("listops-lra").source
