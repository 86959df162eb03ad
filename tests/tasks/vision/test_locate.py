"""Locate: at the place that is the answer stands a whole image of the class asked for."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from cab.registry import discover_tasks
from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.vision._images import digit_images
from cab.tasks.vision.locate import Crowd, placements


def make():
    task = discover_tasks().load("locate")
    return task(task.recipes["quick"])


@pytest.mark.parametrize("split", SPLITS)
def test_a_question_is_answered_by_the_place_of_an_image_of_its_class(split):
    task = make()
    images, targets = digit_images()[split]
    label = {
        image.numpy().tobytes(): target
        for image, target in zip(images, targets.tolist(), strict=True)
    }
    batch = task.draw(split, 100, generator("locate", split))
    canvases = F.fold(batch["source"].mT, 24, 4, stride=4).squeeze(1)
    for canvas, classes, places in zip(canvases, batch["inputs"], batch["targets"], strict=True):
        found = []
        for place in places.tolist():
            row, column = place // 5 * 4, place % 5 * 4
            found.append(canvas[row : row + 8, column : column + 8])
        assert [label[one.contiguous().numpy().tobytes()] for one in found] == classes.tolist()
        assert len(set(classes.tolist())) == 3
        assert canvas.sum().item() == pytest.approx(sum(one.sum().item() for one in found))


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_placements_are_all_ways_to_stand_apart_each_once(digits):
    ways = {tuple(map(tuple, way)) for way in placements(Crowd(digits=digits)).tolist()}
    assert len(ways) == len(placements(Crowd(digits=digits)))

    def pixels(corner):
        row, column = corner
        return {(4 * row + r, 4 * column + c) for r in range(8) for c in range(8)}

    corners = list(itertools.product(range(5), repeat=2))
    covered = {corner: pixels(corner) for corner in corners}
    expected = {
        way
        for way in itertools.combinations(corners, digits)
        if all(not covered[a] & covered[b] for a, b in itertools.combinations(way, 2))
    }
    assert ways == expected


def test_every_place_and_every_class_is_asked_for():
    batch = make().draw("train", 3000, generator("coverage"))
    assert set(batch["targets"].flatten().tolist()) == set(range(25))
    assert (batch["inputs"].flatten().bincount() / 9000 - 0.1).abs().max() < 0.02


def test_the_first_digit_s_place_answers_one_question_of_three():
    task = make()
    batch = task.draw("test", 200, generator("first"))
    canvases = F.fold(batch["source"].mT, 24, 4, stride=4).squeeze(1)
    scored = task.shortcuts(batch)["first digit's place"]
    assert torch.allclose(scored, torch.full((200,), 1 / 3))
    first = batch["targets"].amin(dim=1) // 5 * 4
    assert all(not canvas[:row].any() for canvas, row in zip(canvases, first, strict=True))
