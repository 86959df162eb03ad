"""After-word: the answer to a cue is the word whose recording follows that of the cue."""

import itertools

import pytest
from stream_support import Reader, make

from cab.seeding import generator
from cab.task import SPLITS

NAMES = ["after-word", "after-word-fsdd"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_every_word_but_the_last_is_a_cue_and_answered_by_the_next(name, split):
    task = make(name)
    recordings, count = task._recordings[split], task.recipe.data.words
    reader = Reader(recordings)
    batch = task.draw(split, 40, generator("after-word", split))
    features = task.recipe.data.hearing.features
    for frames, padding, answers in zip(
        *(batch[key] for key in ("inputs", "padding", "targets")), strict=True
    ):
        cues, stream = frames[: count - 1], frames[~padding][count - 1 :]
        assert not padding[: count - 1].any()
        assert not cues[:, :features].any()
        assert not stream[:, features:].any()
        assert cues[:, features:].sum(dim=1).eq(1).all()
        said = reader.read(stream[:, :features])
        words = [recordings.words[row].item() for row, _, _ in said]
        assert len(set(words)) == len(words) == count
        assert len({recordings.speakers[row].item() for row, _, _ in said}) == 1
        asked = cues[:, features:].argmax(dim=1).tolist()
        follows = dict(itertools.pairwise(words))
        assert dict(zip(asked, answers.tolist(), strict=True)) == follows


@pytest.mark.parametrize("name", NAMES)
def test_a_cue_stands_anywhere_among_the_cues_and_the_last_word_answers_one(name):
    task = make(name)
    batch = task.draw("train", 2000, generator("cues"))
    questions = batch["targets"].shape[1]
    last = (batch["targets"] == batch["last"]).float()
    assert (last.mean(dim=0) - 1 / questions).abs().max() < 0.04
    assert (task.shortcuts(batch)["last word"] - 1 / questions).abs().max() < 1e-6


def test_levels_have_from_3_to_7_words():
    levels = make("after-word").at_levels()
    assert [level.recipe.data.words for level in levels] == [3, 4, 5, 7]
    for level in levels:
        batch = level.draw("test", 3, generator("levels"))
        assert batch["targets"].shape == (3, level.recipe.data.words - 1)
