"""Locate: in the cell that is the answer stands an image of the class asked for."""

import pytest
import torch
from task_support import make, scored_by

from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.vision._images import digit_images
from cab.tasks.vision.locate import Cells

LEVELS = make("locate").at_levels()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", LEVELS, ids=lambda task: str(task.recipe.data.digits))
def test_a_question_is_answered_by_the_cell_of_an_image_of_its_class(split, task):
    images, targets = digit_images()[split]
    label = {
        image.numpy().tobytes(): target
        for image, target in zip(images, targets.tolist(), strict=True)
    }
    batch = task.draw(split, 30, generator("locate", split))
    assert batch["source"].shape == (30, 25, 64)
    for cells, classes, answers in zip(
        batch["source"], batch["inputs"].tolist(), batch["targets"].tolist(), strict=True
    ):
        shown = {
            place: label[cell.numpy().tobytes()]
            for place, cell in enumerate(cells.view(25, 8, 8))
            if cell.any()
        }
        assert shown == dict(zip(answers, classes, strict=True))
        assert len(set(classes)) == len(classes) == task.recipe.data.digits


def test_levels_have_from_2_digits_to_one_of_each_class():
    assert [level.recipe.data.digits for level in LEVELS] == [2, 4, 6, 8, 10]


def test_every_cell_and_every_class_is_asked_for():
    batch = LEVELS[1].draw("train", 3000, generator("coverage"))
    assert (batch["targets"].flatten().bincount(minlength=25) / 12000 - 1 / 25).abs().max() < 0.008
    assert (batch["inputs"].flatten().bincount(minlength=10) / 12000 - 0.1).abs().max() < 0.02


def test_the_first_digit_s_cell_answers_one_question():
    for task in LEVELS:
        batch = task.draw("test", 20, generator("first"))
        scored = task.shortcuts(batch)["first digit's place"]
        assert scored.tolist() == pytest.approx([1 / task.recipe.data.digits] * 20)
        first = batch["targets"].amin(dim=1)
        for cells, place in zip(batch["source"], first, strict=True):
            assert not cells[:place].any()
            assert cells[place].any()


def test_accuracy_is_the_share_of_questions():
    task = LEVELS[0]
    batch = task.draw("test", 2, generator("accuracy"))
    right = torch.nn.functional.one_hot(batch["targets"], 25).float()
    right[1, 0] = right[1, 0].roll(1, dims=-1)
    assert scored_by(task, batch, right)["accuracy"].tolist() == [1, 0.5]


def test_impossible_parameters_are_refused():
    for digits, side in ((0, 3), (11, 4), (5, 2)):
        with pytest.raises(ValueError, match="a cell for each"):
            Cells(digits, side)
