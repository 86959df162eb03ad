"""frame-recall: an empty frame asks for the class of the digit with the same frame."""

import pytest
import torch
from task_support import make, scored_by

from cab.seeding import generator
from cab.task import IGNORED, SPLITS
from cab.tasks.vision._images import digit_images
from cab.tasks.vision.frame_recall import Frames, frames

LEVELS = make("frame-recall").at_levels()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", [LEVELS[0], LEVELS[-1]], ids=["first level", "last level"])
def test_a_target_is_the_class_of_the_digit_in_the_same_frame(task, split):
    images, labels = digit_images()[split]
    label = {image.numpy().tobytes(): int(one) for image, one in zip(images, labels, strict=True)}
    batch = task.draw(split, 5, generator("frame-recall", split))
    assert batch["inputs"].shape == (5, 64, 144)
    assert batch["targets"].shape == (5, 64)
    inside = torch.zeros(12, 12, dtype=torch.bool)
    inside[2:10, 2:10] = True
    for cells, targets in zip(batch["inputs"].view(5, 64, 12, 12), batch["targets"], strict=True):
        digits, asked = {}, {}
        for cell, target in zip(cells, targets.tolist(), strict=True):
            frame = tuple(cell[~inside].tolist())
            if cell[inside].any():
                assert target == IGNORED
                assert frame not in digits
                digits[frame] = label[cell[2:10, 2:10].contiguous().numpy().tobytes()]
            elif any(frame):
                assert frame not in asked
                asked[frame] = target
            else:
                assert target == IGNORED
        assert digits == asked
        assert len(digits) == task.recipe.data.pairs


def test_all_frames_differ_and_are_black_inside():
    known = frames(64)
    assert known.shape == (64, 12, 12)
    assert len(known.flatten(1).unique(dim=0)) == 64
    assert not known[:, 2:10, 2:10].any()
    assert set(known.unique().tolist()) == {0.0, 1.0}
    assert known.flatten(1).any(dim=1).all()


def test_digits_and_empty_frames_stand_anywhere_and_all_classes_are_asked_for():
    batch = LEVELS[2].draw("train", 3000, generator("places"))
    asked = batch["targets"] != IGNORED
    assert (asked.float().mean(dim=0) - 8 / 64).abs().max() < 0.03
    classes = batch["targets"][asked].bincount(minlength=10) / asked.sum()
    assert (classes - 0.1).abs().max() < 0.01


def test_the_shortcut_names_the_most_frequent_answer():
    targets = torch.tensor([[3, 3, 3, 1, IGNORED], [0, 2, 4, 6, IGNORED]])
    found = LEVELS[0].shortcuts({"targets": targets})["most frequent"]
    assert torch.equal(found, torch.tensor([0.75, 0.25]))


def test_accuracy_counts_the_empty_frames_alone():
    task = LEVELS[1]
    batch = task.draw("test", 2, generator("accuracy"))
    right = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), 10).float()
    first = (batch["targets"][1] != IGNORED).nonzero()[0]
    right[1, first] = right[1, first].roll(1, dims=-1)
    assert scored_by(task, batch, right)["accuracy"].tolist() == [1, 0.75]


def test_impossible_parameters_are_refused():
    for pairs, kinds, side in ((5, 4, 4), (9, 9, 4)):
        with pytest.raises(ValueError, match="pairs <= kinds"):
            Frames(pairs, kinds, side)
