"""Spoken-recall: at a word's second saying the answer is what followed its first."""

import pytest
from stream_support import Reader, make

from cab.seeding import generator
from cab.task import SPLITS

NAMES = ["spoken-recall", "spoken-recall-fsdd"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_the_last_token_of_a_second_saying_is_labelled_with_what_followed_the_first(name, split):
    task = make(name)
    recordings, count = task._recordings[split], task.recipe.data.words
    reader = Reader(recordings)
    batch = task.draw(split, 40, generator("spoken-recall", split))
    for frames, padding, targets in zip(
        *(batch[key] for key in ("inputs", "padding", "targets")), strict=True
    ):
        said = reader.read(frames[~padding])
        words = [recordings.words[row].item() for row, _, _ in said]
        assert len({recordings.speakers[row].item() for row, _, _ in said}) == 1
        assert len({row for row, _, _ in said}) == len(said) == 2 * count - 1
        expected = {}
        for at, (_, _, end) in enumerate(said):
            if words[at] in words[:at]:
                expected[end - 1] = words[words.index(words[at]) + 1]
        assert len(expected) == count - 1
        found = {at: label for at, label in enumerate(targets.tolist()) if label != -100}
        assert found == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_last_new_word_answers_one_question(name):
    task = make(name)
    batch = task.draw("train", 500, generator("last"))
    share = 1 / (task.recipe.data.words - 1)
    assert (task.shortcuts(batch)["last new word"] - share).abs().max() < 1e-6
