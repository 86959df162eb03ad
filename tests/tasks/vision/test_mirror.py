"""mirror: the answer of a cell is the class of the digit opposite its own."""

import pytest
import torch
from cli_support import cab_here
from task_support import make, scored_by

from cab.seeding import generator
from cab.task import IGNORED
from cab.tasks.vision._images import digit_images
from cab.tasks.vision.mirror import Wall

LEVELS = make("mirror").at_levels()


@pytest.mark.parametrize("task", LEVELS, ids=lambda task: str(task.recipe.data))
def test_each_cell_is_an_image_and_asks_for_the_class_of_the_digit_opposite(task):
    batch, params = task.draw("valid", 3, generator("mirror test")), task.recipe.data
    assert batch["inputs"].shape == (3, 36, 64)
    images, labels = digit_images()["valid"]
    top, left = (6 - params.rows) // 2, (6 - params.columns) // 2
    for picture, targets in zip(
        batch["inputs"].view(3, 6, 6, 8, 8), batch["targets"].view(3, 6, 6), strict=True
    ):
        found = torch.full((6, 6), IGNORED)
        for row in range(top, top + params.rows):
            for column in range(left, left + params.columns):
                which = (images == picture[row, column]).all(dim=(1, 2)).nonzero()
                assert len(which) >= 1
                found[row, column] = labels[which[0, 0]]
        for row in range(6):
            for column in range(6):
                assert targets[row, column] == found[5 - row, 5 - column]
                assert (found[row, column] == IGNORED) == (not picture[row, column].any())


def test_levels_show_from_2_x_2_digits_to_a_full_wall():
    shown = [(level.recipe.data.rows, level.recipe.data.columns) for level in LEVELS]
    assert shown == [(2, 2), (2, 4), (4, 4), (4, 6), (6, 6)]


def test_walls_that_are_not_in_the_middle_are_refused():
    for rows, columns, side in ((3, 4, 4), (2, 5, 6), (2, 2, 3), (2, 6, 4), (0, 2, 4)):
        with pytest.raises(ValueError, match="in the middle"):
            Wall(rows, columns, side)


def test_the_shortcut_names_the_most_frequent_answer():
    task = make("mirror")
    targets = torch.tensor([[3, 3, 3, 1, IGNORED], [0, 2, 4, 6, IGNORED]])
    found = task.shortcuts({"targets": targets})["most frequent"]
    assert torch.equal(found, torch.tensor([0.75, 0.25]))


def test_accuracy_counts_the_digits_alone():
    task = LEVELS[0]
    batch = task.draw("test", 2, generator("accuracy"))
    right = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), 10).float()
    first = (batch["targets"][1] != IGNORED).nonzero()[0]
    right[1, first] = right[1, first].roll(1, dims=-1)
    assert scored_by(task, batch, right)["accuracy"].tolist() == [1, 0.75]


def test_the_smoke_profile_runs(tmp_path):
    said = cab_here(
        *("run", "--variant", "softmax", "--task", "mirror", "--profile", "smoke"),
        *("--tracking", "none", "--store", tmp_path, "--unchecked"),
    )
    assert said.code == 0
