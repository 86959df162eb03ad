"""few-shot: the label of an image is the one that this sequence gave to others of its class."""

import pytest
import torch
from task_support import assert_disjoint, make, scored_by

from cab.seeding import generator
from cab.task import IGNORED, SPLITS
from cab.tasks.vision._images import digit_images
from cab.tasks.vision.few_shot import CLASSES, PIXELS, Episode

LEVELS = range(5)


def classes_of(split):
    """The class of every image of a split, as it is and inverted, by its pixels."""
    images, targets = digit_images()[split]
    return {
        shown.numpy().tobytes(): target + 10 * inverted
        for inverted, kind in enumerate((images, 1 - images))
        for shown, target in zip(kind, targets.tolist(), strict=True)
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("level", LEVELS)
def test_each_image_to_name_has_the_label_of_its_class(level, split):
    task = make("few-shot").at_levels()[level]
    params, known = task.recipe.data, classes_of(split)
    batch = task.draw(split, 40, generator("few-shot", level, split))
    shown = params.classes * params.shots
    assert batch["inputs"].shape == (40, params.length, PIXELS + CLASSES)
    for tokens, targets in zip(batch["inputs"], batch["targets"].tolist(), strict=True):
        pixels, named = tokens[:, :PIXELS], tokens[:, PIXELS:]
        given = {}
        for place in range(0, 2 * shown, 2):
            assert not named[place].any()
            assert not pixels[place + 1].any()
            assert named[place + 1].sum() == 1
            digit = known[pixels[place].contiguous().numpy().tobytes()]
            given.setdefault(digit, []).append(named[place + 1].argmax().item())
        assert [len(labels) for labels in given.values()] == [params.shots] * params.classes
        assert all(len(set(labels)) == 1 for labels in given.values())
        assert len({labels[0] for labels in given.values()}) == params.classes
        asked = [
            known[pixels[place].contiguous().numpy().tobytes()]
            for place in range(2 * shown, params.length)
        ]
        assert sorted(asked) == sorted(given)
        assert targets == [IGNORED] * (2 * shown) + [given[digit][0] for digit in asked]


def test_a_digit_has_every_label_in_some_sequence():
    task = make("few-shot")
    batch = task.draw("train", 1000, generator("labels"))
    named = batch["inputs"][:, 1, PIXELS:].argmax(dim=-1)
    assert set(named.tolist()) == set(range(CLASSES))


def test_the_last_label_names_one_image():
    for task in make("few-shot").at_levels():
        batch = task.draw("train", 30, generator("last"))
        expected = torch.full((30,), 1 / task.recipe.data.classes)
        assert torch.allclose(task.shortcuts(batch)["last label"], expected)


def test_accuracy_is_the_share_of_images_named():
    task = make("few-shot", "smoke")
    batch = task.draw("train", 2, generator("accuracy"))
    right = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), CLASSES).float()
    right[0, -1] = right[0, -1].roll(1)
    expected = [1 - 1 / task.recipe.data.classes, 1]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="1 to 20 classes"):
        Episode(classes=21, shots=1)
    with pytest.raises(ValueError, match="at least one shot"):
        Episode(classes=2, shots=0)


def test_splits_share_no_example():
    assert_disjoint("few-shot")
