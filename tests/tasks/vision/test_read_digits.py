"""Read-digits: each window of a strip holds one whole image, and its digit is the target."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from task_support import assert_disjoint, make

from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.vision._images import SIDE, digit_images
from cab.tasks.vision.read_digits import Strip


def strips_of(task, batch):
    """The strips as images: (B, 8, pixels)."""
    column, tokens = task.recipe.data.column, batch["source"].shape[1]
    window = (SIDE, column)
    return F.fold(batch["source"].mT, (SIDE, column * tokens), window, stride=window).squeeze(1)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("level", range(4))
def test_each_window_holds_an_image_of_its_digit(level, split):
    task = make("read-digits").at_levels()[level]
    params = task.recipe.data
    images, targets = digit_images()[split]
    label = {
        image.numpy().tobytes(): target
        for image, target in zip(images, targets.tolist(), strict=True)
    }
    batch = task.draw(split, 40, generator("read-digits", level, split))
    assert batch["source"].shape == (40, params.digits * params.window, SIDE * params.column)
    room = params.window * params.column
    for strip, digits in zip(strips_of(task, batch), batch["targets"].tolist(), strict=True):
        for window, digit in zip(strip.split(room, dim=1), digits, strict=True):
            found = [
                label[part.numpy().tobytes()]
                for shift in range(room - SIDE + 1)
                if (part := window[:, shift : shift + SIDE].contiguous()).numpy().tobytes()
                in label
                and part.sum() == window.sum()
            ]
            assert digit in found


def test_an_image_may_stand_anywhere_in_its_window():
    task = make("read-digits")
    room = task.recipe.data.window * task.recipe.data.column
    strips = strips_of(task, task.draw("train", 2000, generator("shifts")))
    inked = strips.unflatten(2, (-1, room)).sum(dim=1) > 0
    assert inked.any(dim=(0, 1)).all()
    # As often at the left as at the right: the middle of the ink is the middle of the window.
    middle = (inked * torch.arange(room)).sum(dim=2) / inked.sum(dim=2)
    assert middle.mean() == pytest.approx((room - 1) / 2, abs=0.1)


def test_splits_share_no_example():
    assert_disjoint("read-digits")


@pytest.mark.parametrize("change", [{"digits": 0}, {"window": 3}])
def test_impossible_strips_are_refused(change):
    with pytest.raises(ValueError, match="windows of at least 8 pixels"):
        dataclasses.replace(Strip(digits=2, column=2, window=4), **change)
