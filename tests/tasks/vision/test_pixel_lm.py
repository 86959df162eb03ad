"""Pixel-lm: the last picture of a film is one of those before it, and bits are counted right."""

import math
from collections import Counter

import pytest
import torch

from cab.registry import discover_tasks
from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.vision._images import digit_images


def make():
    task = discover_tasks().load("pixel-lm")
    return task(task.recipes["quick"])


def levels_of(split):
    images, _ = digit_images()[split]
    return [[math.floor(4 * value) for value in image] for image in images.flatten(1).tolist()]


@pytest.mark.parametrize("split", SPLITS)
def test_a_film_shows_two_images_of_its_split_and_one_of_them_again(split):
    known = {tuple(image) for image in levels_of(split)}
    batch = make().draw(split, 200, generator("film", split))
    again = Counter()
    for inputs, pixels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert inputs == [5, *pixels[:-1]]
        first, second, last = (tuple(pixels[at : at + 64]) for at in (0, 64, 128))
        assert first != second
        assert {first, second, last} <= known
        again[(first, second).index(last)] += 1
    assert min(again.values()) > 70


def test_no_image_in_five_levels_is_both_trained_and_tested_on():
    each = {split: {tuple(image) for image in levels_of(split)} for split in SPLITS}
    assert not each["train"] & each["test"]
    assert not each["train"] & each["valid"]
    assert not each["valid"] & each["test"]


def test_bits_are_those_of_the_picture_that_comes_again():
    task = make()
    batch = task.draw("test", 6, generator("bits"))

    class Knows(torch.nn.Module):
        """Certain of every pixel from 128 on, without an idea of those before."""

        def forward(self, tokens):
            logits = torch.zeros(*tokens.shape, 6)
            logits[..., 5] = -math.inf
            sure = torch.nn.functional.one_hot(batch["targets"], 6).float()
            logits[:, 128:] = 50 * sure[:, 128:]
            return logits

    found = task.evaluate(Knows(), batch)
    assert found["bits_per_pixel"].max() < 1e-6
    assert torch.allclose(found["new_bits_per_pixel"], torch.full((6,), math.log2(5)))
    assert task.card.chance == pytest.approx(math.log2(5))


def test_the_shortcut_counts_pixels_by_their_left_and_upper_neighbours():
    task = make()
    batch = task.draw("test", 5, generator("neighbours"))

    def contexts(image):
        for at, pixel in enumerate(image):
            left = image[at - 1] if at % 8 else 0
            above = image[at - 8] if at >= 8 else 0
            yield (left, above), pixel

    seen, places = Counter(), Counter()
    for image in levels_of("train"):
        for context, pixel in contexts(image):
            seen[context, pixel] += 1
            places[context] += 1
    expected = []
    for film in batch["targets"].tolist():
        bits = [
            -math.log2((seen[context, pixel] + 1) / (places[context] + 5))
            for context, pixel in contexts(film[128:])
        ]
        expected.append(sum(bits) / 64)
    found = task.shortcuts(batch)["two neighbours"]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-4)
