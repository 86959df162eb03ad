"""mirror: the answer of a patch is the class of the digit opposite its own."""

import torch
from cli_support import cab_here
from task_support import make

from cab.seeding import generator
from cab.tasks.vision._images import digit_images


def test_each_patch_is_part_of_an_image_and_asks_for_the_class_of_the_digit_opposite():
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
                assert targets[row, column] == found[3 - row // 2, 3 - column // 2]


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
