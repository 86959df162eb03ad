"""nearest-neighbour: a target is the label of the point at the smallest distance."""

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
from cab.tasks.retrieval.nearest_neighbour import Points, generate

LEVELS = make("nearest-neighbour").at_levels()


@pytest.mark.parametrize("task", LEVELS, ids=lambda task: str(task.recipe.data.points))
def test_a_target_is_the_label_of_the_nearest_point(task):
    assert_labels_of_the_nearest(task)


def test_points_and_queries_are_independent_and_uniform_on_the_sphere():
    drawn = generate(Points(points=9, dim=5, classes=3), 2000, generator("sphere"))
    for name in ("points", "inputs"):
        assert (drawn[name].norm(dim=-1) - 1).abs().max() < 1e-5
        assert drawn[name].mean(dim=(0, 1)).abs().max() < 0.02
        second = torch.einsum("bni,bnj->ij", drawn[name], drawn[name]) / (2000 * 9)
        torch.testing.assert_close(second, torch.eye(5) / 5, atol=0.01, rtol=0)
    products = torch.einsum("bni,bni->bn", drawn["points"], drawn["inputs"])
    assert products.mean().abs() < 0.02
    assert products.var().item() == pytest.approx(1 / 5, abs=0.01)


def test_one_head_of_the_points_width_computes_it_and_a_head_of_half_of_it_does_not():
    drawn = generate(Points(points=16, dim=16, classes=16), 400, generator("rank"))
    points, queries = drawn["points"], drawn["inputs"]

    def right(width: int) -> float:
        scores = queries[..., :width] @ points[..., :width].mT
        values = torch.nn.functional.one_hot(drawn["labels"], 16).float()
        answers = (scores * 1e4).softmax(dim=-1) @ values
        return (answers.argmax(dim=-1) == drawn["targets"]).float().mean().item()

    assert right(16) == 1
    assert right(8) < 0.5
    assert right(2) < 0.25


def test_the_most_frequent_label_and_the_metric():
    task, batch = make("nearest-neighbour"), draw("nearest-neighbour", 200)
    params = task.recipe.data
    (score,) = task.shortcuts(batch).values()
    counts = batch["context"][..., params.dim :].sum(dim=1)
    expected = (counts.amax(dim=1) / params.points).mean().item()
    assert score.mean() == pytest.approx(expected, abs=0.05)
    right = torch.nn.functional.one_hot(batch["targets"], params.classes).float()
    right[1, :3] = right[1, :3].roll(1, dims=-1)
    found = scored_by(task, batch, right)["accuracy"]
    assert found[:2].tolist() == pytest.approx([1, 1 - 3 / params.points])


@pytest.mark.parametrize("wrong", [{"points": 0}, {"dim": 1}, {"classes": 1}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="nearest-neighbour needs points >= 1"):
        Points(**{"points": 4, "dim": 4, "classes": 4, **wrong})


def test_splits_share_no_example():
    assert_disjoint("nearest-neighbour")
