"""mirror: what a digit shows decides where its answer stands."""

import torch
from cli_support import cab_here
from task_support import make

from cab.seeding import generator
from cab.tasks.vision._images import digit_images
from cab.tasks.vision.mirror import pointed_at


def test_small_digits_point_through_the_centre_and_large_ones_down():
    classes = torch.tensor([[[0, 5, 1], [2, 9, 3], [7, 4, 8]]])
    #               0: through the centre to 8, 5: down to 4, 1: through the centre to 7 ...
    expected = torch.tensor([[[8, 4, 7], [3, 9, 2], [0, 5, 1]]])
    assert torch.equal(pointed_at(classes), expected)


def test_each_patch_is_part_of_an_image_and_asks_for_the_class_that_its_digit_points_at():
    task = make("mirror", "quick")
    batch = task.draw("valid", 3, generator("mirror test"))
    assert batch["inputs"].shape == (3, 64, 16)
    assert batch["targets"].shape == (3, 64)
    images, labels = digit_images()["valid"]
    for picture, targets in zip(batch["inputs"], batch["targets"].view(3, 8, 8), strict=True):
        # Patches (8, 8, 4, 4) put together again: a wall of 4 x 4 images.
        pixels = picture.view(8, 8, 4, 4).transpose(1, 2).reshape(32, 32)
        found = torch.zeros(4, 4, dtype=torch.long)
        for row in range(4):
            for column in range(4):
                image = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                which = (images == image).all(dim=(1, 2)).nonzero()
                assert len(which) >= 1
                found[row, column] = labels[which[0, 0]]
        for row in range(8):
            for column in range(8):
                here = found[row // 2, column // 2]
                down = found[3 - row // 2]
                assert targets[row, column] == down[3 - column // 2 if here < 5 else column // 2]


def test_the_shortcut_names_the_most_frequent_answer():
    task = make("mirror")
    targets = torch.tensor([[3, 3, 3, 1], [0, 2, 4, 6]])
    found = task.shortcuts({"targets": targets})["most frequent"]
    assert torch.equal(found, torch.tensor([0.75, 0.25]))


def test_the_smoke_profile_runs(tmp_path):
    said = cab_here(
        *("run", "--variant", "softmax", "--task", "mirror", "--profile", "smoke"),
        *("--tracking", "none", "--store", tmp_path, "--unchecked"),
    )
    assert said.code == 0
