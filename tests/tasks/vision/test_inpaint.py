"""Inpaint: what the hole hid stands elsewhere on the canvas, in the same digit."""

import itertools

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.tasks.vision._images import digit_images
from cab.tasks.vision.inpaint import Crowd, placements


def canvases(batch, filled):
    """The pictures, with the holes filled if wanted, pixel by pixel."""
    pictures = torch.zeros(len(batch["inputs"]), 24, 24)
    for row, patches in enumerate(batch["inputs"]):
        for at, patch in enumerate(patches):
            hole = at == batch["hole"][row]
            assert patch[16] == float(hole)
            assert not hole or (patch[:16] == 0).all()
            pixels = batch["targets"][row] if hole and filled else patch[:16]
            down, right = 4 * (at // 6), 4 * (at % 6)
            pictures[row, down : down + 4, right : right + 4] = pixels.view(4, 4)
    return pictures


def test_a_digit_stands_twice_another_once_and_the_hole_is_in_a_twin():
    batch = draw("inpaint", 40)
    known = {tuple(one) for one in digit_images()["train"][0].flatten(1).tolist()}
    filled, cut = canvases(batch, True), canvases(batch, False)
    for picture, holed, hole in zip(filled, cut, batch["hole"].tolist(), strict=True):
        found = {}
        for down in range(0, 17, 4):
            for right in range(0, 17, 4):
                image = tuple(picture[down : down + 8, right : right + 8].flatten().tolist())
                if image in known:
                    found.setdefault(image, []).append((down, right))
        assert sorted(len(places) for places in found.values()) == [1, 2]
        (twins,) = [places for places in found.values() if len(places) == 2]
        place = 4 * (hole // 6), 4 * (hole % 6)
        inside = [0 <= place[0] - d <= 4 and 0 <= place[1] - r <= 4 for d, r in twins]
        assert sum(inside) == 1
        total = sum(torch.tensor(image).sum() * len(at) for image, at in found.items())
        assert torch.isclose(picture.sum(), total)
        assert holed.sum() <= picture.sum()


def test_the_hole_and_the_twins_are_anywhere():
    batch = draw("inpaint", 600)
    assert len(batch["hole"].unique()) == 36


def test_the_error_is_that_of_the_hole_s_pixels():
    task, batch = make("inpaint"), draw("inpaint", 5)
    patches = torch.full((5, 36, 16), 9.0)
    patches[torch.arange(5), batch["hole"]] = batch["targets"] + torch.arange(5)[:, None]
    assert torch.allclose(scored_by(task, batch, patches)["mse"], torch.arange(5.0).square())


def test_the_shortcut_is_the_mean_of_all_patches_of_training_digits():
    task, batch = make("inpaint"), draw("inpaint", 7)
    patches = [
        image[down : down + 4, right : right + 4]
        for image in digit_images()["train"][0]
        for down in (0, 4)
        for right in (0, 4)
    ]
    mean = torch.stack(patches).mean(dim=0).flatten()
    (score,) = task.shortcuts(batch).values()
    assert torch.allclose(score, (batch["targets"] - mean).square().mean(dim=1), atol=1e-6)


def test_splits_share_no_example():
    assert_disjoint("inpaint")


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
