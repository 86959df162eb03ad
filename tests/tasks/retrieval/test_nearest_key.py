"""nearest-key: a target is the label of the key with the largest inner product with the query."""

import pytest
import torch
from task_support import (
    assert_disjoint,
    assert_labels_of_the_nearest,
    draw,
    make,
    scored_by,
)

from cab.seeding import generator
from cab.tasks.retrieval.nearest_key import generate

LEVELS = make("nearest-key").at_levels()


@pytest.mark.parametrize("task", LEVELS, ids=lambda task: str(task.recipe.data.keys))
def test_a_target_is_the_label_of_the_nearest_key(task):
    assert_labels_of_the_nearest(task)


def test_keys_and_queries_have_length_one_and_every_key_is_asked_for_once():
    params = LEVELS[-1].recipe.data
    drawn = generate(params, 50, generator("lengths"))
    for name in ("keys", "inputs"):
        assert (drawn[name].norm(dim=-1) - 1).abs().max() < 1e-5
    nearest = (drawn["inputs"] @ drawn["keys"].mT).argmax(dim=2)
    once = [len(row.unique()) / params.keys for row in nearest]
    # Noise moves a query beyond the middle between two keys in rare cases only.
    assert sum(once) / 50 > 0.99


def test_the_most_frequent_label_scores_its_share_or_more_by_chance():
    task, batch = make("nearest-key"), draw("nearest-key", 200)
    (score,) = task.shortcuts(batch).values()
    counts = batch["context"][..., task.recipe.data.dim :].sum(dim=1)
    assert score.mean() == pytest.approx((counts.amax(dim=1) / 64).mean().item(), abs=0.01)
    assert score.mean() < 0.2


def test_accuracy_is_the_share_of_queries():
    task, batch = make("nearest-key"), draw("nearest-key", 2)
    right = torch.nn.functional.one_hot(batch["targets"], task.recipe.data.classes).float()
    right[1, :3] = right[1, :3].roll(1, dims=-1)
    expected = [1, 1 - 3 / task.recipe.data.keys]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_splits_share_no_example():
    assert_disjoint("nearest-key")
