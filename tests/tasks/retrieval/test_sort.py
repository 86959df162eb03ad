"""sort: the target holds the numbers of the memory, from the smallest to the largest."""

import pytest
import torch
from task_support import assert_disjoint, draw, make

from cab.tasks.retrieval.sort import Numbers


@pytest.mark.parametrize("level", range(5))
def test_the_target_is_the_set_in_order(level):
    task = make("sort").at_levels()[level]
    params = task.recipe.data
    batch = task.draw("train", 50, torch.Generator().manual_seed(level))
    for given, written in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert len(set(given)) == params.count
        assert written == sorted(given)
        assert written[0] >= 0
        assert written[-1] < params.largest


def test_every_number_occurs_in_any_place():
    batch = draw("sort", 2000)
    largest = make("sort").recipe.data.largest
    assert set(batch["inputs"].unique().tolist()) == set(range(largest))
    smallest = batch["inputs"].argmin(dim=1).bincount(minlength=batch["inputs"].shape[1])
    assert smallest.min() > 0


def test_each_number_is_scored_given_the_true_ones_before_it():
    task, batch = make("sort", "smoke"), draw("sort", 3, profile="smoke")
    largest = task.recipe.data.largest
    answers = batch["targets"].clone()
    answers[1, 0] = (answers[1, 0] + 1) % largest

    def model(memory, tokens):
        assert torch.equal(memory.sum(dim=-1).long() - 1, batch["inputs"])
        assert tokens[:, 0].eq(largest).all()
        assert torch.equal(tokens[:, 1:], batch["targets"][:, :-1])
        return torch.nn.functional.one_hot(answers, largest + 1).float()

    expected = [1, 1 - 1 / task.recipe.data.count, 1]
    assert task.evaluate(model, batch)["accuracy"].tolist() == pytest.approx(expected)


def test_one_more_than_the_last_number_is_right_where_two_are_neighbours():
    task, batch = make("sort"), draw("sort", 300)
    score = task.shortcuts(batch)["one more"]
    for written, share in zip(batch["targets"].tolist(), score.tolist(), strict=True):
        before = [-1, *written[:-1]]
        right = [now == last + 1 for last, now in zip(before, written, strict=True)]
        assert share == pytest.approx(sum(right) / len(right))
    assert score.mean() < 0.3


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="count <= largest"):
        Numbers(count=9, largest=8)


def test_splits_share_no_example():
    assert_disjoint("sort")
