"""Strings of digits, spoken or written by hand: the score is the share that is right."""

import pytest
import torch
from stream_support import make
from task_support import softmax_slots

from cab.backbones.encoder_decoder import EncoderDecoder
from cab.seeding import generator

WRITTEN = ("transcribe", "read-digits")


class Written(EncoderDecoder):
    """Writes the same digits, whatever it is shown."""

    def __init__(self, task, digits):
        super().__init__(task.recipe.model, softmax_slots("cc"))
        self.digits = digits

    def generate(self, *asked):
        return self.digits


@pytest.mark.parametrize("name", WRITTEN)
def test_the_score_is_the_share_of_digits_that_are_right(name):
    task = make(name)
    batch = task.draw("test", 3, generator("score"))
    written = batch["targets"].clone()
    written[0, :2] = (written[0, :2] + 1) % 10
    found = task.evaluate(Written(task, written), batch)["accuracy"].tolist()
    assert found == pytest.approx([1 - 2 / written.shape[1], 1, 1])


@pytest.mark.parametrize("name", WRITTEN)
def test_the_shortcut_writes_the_most_frequent_digit(name):
    task = make(name)
    targets = torch.tensor([[3, 1, 3, 3], [5, 9, 2, 6]])
    assert task.shortcuts({"targets": targets})["most frequent"].tolist() == [0.75, 0.25]
