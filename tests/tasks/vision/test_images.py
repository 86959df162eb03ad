"""The digit images: drawn by class from their own split, and pasted whole."""

import torch

from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.vision._images import digit_images, images_of, paste


def contents(images):
    return {image.numpy().tobytes() for image in images}


def test_no_image_is_in_two_splits():
    each = {split: contents(digit_images()[split][0]) for split in SPLITS}
    assert sum(map(len, each.values())) == len(set.union(*each.values())) == 1797


def test_an_image_of_a_class_is_any_of_its_split_and_of_that_class():
    classes = torch.arange(10).repeat(3000, 1)
    for split in SPLITS:
        images, targets = digit_images()[split]
        drawn = images_of(classes, split, generator("images", split))
        for digit in range(10):
            assert contents(drawn[:, digit]) == contents(images[targets == digit])


def test_pasted_images_stand_at_their_corners_and_nothing_else_does():
    drawing = generator("paste")
    images = torch.rand(6, 2, 8, 8, generator=drawing)
    rows = torch.randint(3, (6, 2), generator=drawing) + torch.tensor([0, 10])
    columns = torch.randint(15, (6, 2), generator=drawing)
    canvases = paste(images, rows, columns, (20, 22))
    assert canvases.shape == (6, 20, 22)
    for canvas, two, row, column in zip(canvases, images, rows, columns, strict=True):
        for image, top, left in zip(two, row, column, strict=True):
            assert canvas[top : top + 8, left : left + 8].equal(image)
        assert (canvas != 0).sum() == (two != 0).sum()
