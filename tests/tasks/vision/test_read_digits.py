"""Read-digits: a strip holds the images of its digits from left to right, whole."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from cab.registry import discover_tasks
from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.vision._images import digit_images, paste
from cab.tasks.vision.read_digits import Strip


def make(**changes):
    task = discover_tasks().load("read-digits")
    recipe = task.recipes["quick"]
    return task(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **changes)))


def strips_of(batch):
    length = batch["source"].shape[1]
    return F.fold(batch["source"].mT, (8, 2 * length), (8, 2), stride=(8, 2)).squeeze(1)


@pytest.mark.parametrize("split", SPLITS)
def test_the_target_is_what_is_read_from_left_to_right(split):
    images, targets = digit_images()[split]
    label = {
        image.numpy().tobytes(): target
        for image, target in zip(images, targets.tolist(), strict=True)
    }
    batch = make().draw(split, 100, generator("read-digits", split))
    assert batch["source"].shape == (100, 20, 16)
    for strip, target in zip(strips_of(batch), batch["targets"].tolist(), strict=True):
        read, left = [], 0
        while left < 40:
            window = strip[:, left : left + 8].contiguous().numpy().tobytes()
            if window in label:
                read.append(label[window])
                left += 8
            else:
                assert not strip[:, left : left + 2].any()
                left += 2
        assert read == target


def test_the_gaps_are_random_and_every_one_can_hold_all_the_slack():
    strips = strips_of(make().draw("train", 4000, generator("gaps")))
    inked = strips.sum(dim=1) > 0
    first = inked.long().argmax(dim=1)
    last = 39 - inked.flip(1).long().argmax(dim=1)
    assert first.min() < 2
    assert first.max() >= 8
    assert last.min() <= 31
    assert last.max() > 37


def test_templates_read_a_strip_of_class_means_without_gaps():
    task = make(slack=0)
    images, targets = digit_images()["train"]
    means = torch.stack([images[targets == digit].mean(dim=0) for digit in range(10)])
    written = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6], [8, 0, 7, 5]])
    left = 8 * torch.arange(4).expand(3, 4)
    strips = paste(means[written], torch.zeros_like(left), left, (8, 32))
    tokens = F.unfold(strips[:, None], (8, 2), stride=(8, 2)).mT
    batch = {"source": tokens, "targets": written}
    assert task.shortcuts(batch)["templates"].tolist() == [1, 1, 1]
    assert task.shortcuts({**batch, "targets": written.roll(1, 0)})["templates"].sum() == 0


def test_templates_read_some_strips_and_not_all():
    task = make()
    scored = task.shortcuts(task.draw("test", 500, generator("templates")))["templates"]
    assert set(scored.tolist()) == {0, 1}
    assert Strip().length == 20
