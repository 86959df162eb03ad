"""Align: an answer is the token at which the recording of the word asked for begins."""

import pytest
import torch
from stream_support import Reader, make

from cab.seeding import generator
from cab.task import SPLITS

NAMES = ["align", "align-fsdd"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_each_word_of_a_stream_is_asked_for_once_and_begins_where_it_is_said(name, split):
    task = make(name)
    recordings = task._recordings[split]
    reader = Reader(recordings)
    batch = task.draw(split, 40, generator("align", split))
    for source, padding, asked, answers in zip(
        *(batch[key] for key in ("source", "source_padding", "inputs", "targets")), strict=True
    ):
        said = reader.read(source[~padding])
        assert len({recordings.speakers[row].item() for row, _, _ in said}) == 1
        begins = {recordings.words[row].item(): begin for row, begin, _ in said}
        assert len(begins) == task.recipe.data.words
        assert dict(zip(asked.tolist(), answers.tolist(), strict=True)) == begins


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_in_random_order(name):
    task = make(name)
    batch = task.draw("train", 2000, generator("order"))
    first = (batch["targets"] == 0).float()
    assert (first.sum(dim=1) == 1).all()
    assert (first.mean(dim=0) - 1 / task.recipe.data.words).abs().max() < 0.04


def test_an_answer_counts_if_it_is_off_by_one_token():
    task = make("align")
    batch = task.draw("test", 10, generator("scores"))

    class Late(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, source, questions, padding):
            return torch.nn.functional.one_hot(batch["targets"] + self.by, 60).float()

    found = [task.evaluate(Late(by), batch) for by in (0, 1, 2)]
    assert [one["accuracy"].tolist() for one in found] == [[1.0] * 10, [1.0] * 10, [0.0] * 10]
    assert [one["exact"].mean().item() for one in found] == [1, 0, 0]


def test_the_beginning_answers_for_the_first_word_alone():
    for task in make("align").at_levels():
        batch = task.draw("test", 100, generator("beginning"))
        share = 1 / task.recipe.data.words
        assert task.shortcuts(batch)["beginning"].sub(share).abs().max() < 1e-6


def test_levels_have_from_2_to_8_words():
    levels = make("align").at_levels()
    assert [level.recipe.data.words for level in levels] == [2, 3, 4, 6, 8]
    for level in levels:
        batch = level.draw("test", 3, generator("levels"))
        assert batch["inputs"].shape == batch["targets"].shape == (3, level.recipe.data.words)
