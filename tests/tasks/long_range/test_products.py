"""parity: the answer at each place is the sum modulo 2 of all bits up to it."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.tasks.long_range._products import Word, prefix_products

NAMES = ["parity"]


@pytest.mark.parametrize("level", range(5))
def test_parity_counts_the_ones(level):
    task = make("parity").at_levels()[level]
    batch = task.draw("train", 50, torch.Generator().manual_seed(level))
    for bits, answers in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert len(bits) == task.recipe.data.length
        assert answers == [sum(bits[: place + 1]) % 2 for place in range(len(bits))]


@pytest.mark.parametrize("name", NAMES)
def test_products_of_random_elements_are_uniform_and_one_element_changes_all_later_ones(name):
    task = make(name)
    batch = draw(name, 3000)
    size = len(task.table)
    share = batch["targets"][:, -1].bincount(minlength=size) / 3000
    assert share.tolist() == pytest.approx([1 / size] * size, abs=0.04)
    changed = batch["inputs"].clone()
    changed[:, 0] = (changed[:, 0] + 1) % size
    assert (prefix_products(changed, task.table) != batch["targets"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_last_quarter_is_scored(name):
    task, batch = make(name), draw(name, 2)
    size, length = len(task.table), task.recipe.data.length
    right = torch.nn.functional.one_hot(batch["targets"], size).float()
    right[0, : -(length // 4)] = right[0, : -(length // 4)].roll(1, dims=-1)
    right[1, -1] = right[1, -1].roll(1, dims=-1)
    expected = [1, 1 - 4 / length]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_shortcuts_are_near_chance_at_the_top(name):
    task = make(name)
    for score in task.shortcuts(draw(name, 500)).values():
        assert score.mean() == pytest.approx(task.card.chance, abs=0.03)


def test_two_elements_are_solved_by_the_product_of_the_last_two():
    easiest = make("parity").at_levels()[0]
    batch = easiest.draw("train", 20, torch.Generator().manual_seed(0))
    assert easiest.shortcuts(batch)["last two"].tolist() == [1] * 20


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="length >= 1"):
        Word(0)


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_example(name):
    assert_disjoint(name)
