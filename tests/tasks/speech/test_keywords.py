"""Keywords: a window holds one recording of its split, somewhere, and silence around it."""

import pytest
import torch
from stream_support import make

from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.speech._recordings import Hearing
from cab.tasks.speech._single import Window
from cab.tasks.speech.keywords_residual import KeywordsResidual

NAMES = ["keywords", "keywords-fsdd"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_a_window_holds_a_recording_of_its_split_and_the_answer_is_its_word(name, split):
    task = make(name)
    recordings = task._recordings[split]
    known = {}
    for row, (tokens, length) in enumerate(
        zip(recordings.tokens, recordings.lengths.tolist(), strict=True)
    ):
        known.setdefault(tokens[:length].numpy().tobytes(), set()).add(
            recordings.words[row].item()
        )
    batch = task.draw(split, 60, generator("keywords", split))
    assert batch["inputs"].shape[1] == task.recipe.data.tokens
    for window, answer in zip(batch["inputs"], batch["targets"].tolist(), strict=True):
        heard = window.abs().sum(dim=1).nonzero().squeeze(1)
        said = window[heard.min() : heard.max() + 1]
        assert answer in known[said.numpy().tobytes()]


def test_words_begin_anywhere_and_each_is_drawn_as_often():
    task = make("keywords")
    batch = task.draw("train", 3000, generator("places"))
    begins = (batch["inputs"].abs().sum(dim=2) > 0).long().argmax(dim=1)
    assert set(begins.tolist()) >= set(range(24))
    assert (batch["targets"].bincount(minlength=10) / 3000 - 0.1).abs().max() < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_every_test_recording_is_asked_for_in_turn(name):
    task = make(name)
    test = task._recordings["test"]
    batch = task.examples("test")
    assert len(test.words) == len(batch["targets"])
    assert torch.equal(batch["targets"], test.words)


def test_splits_share_no_recording():
    recordings = make("keywords")._recordings
    seen = {split: {one.numpy().tobytes() for one in recordings[split].tokens} for split in SPLITS}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 1800


def test_the_picture_is_the_window_with_bands_by_rows():
    task = KeywordsResidual(KeywordsResidual.recipes["quick"])
    flat = super(KeywordsResidual, task).draw("test", 3, generator("picture"))["inputs"]
    picture = task.draw("test", 3, generator("picture"))["inputs"]
    assert picture.shape == (3, 20 * 24, 1)
    for example, band, token in ((0, 0, 11), (1, 19, 4), (2, 7, 16)):
        frames = flat[example, token].view(4, 40)[:, 2 * band : 2 * band + 2]
        found = picture[example, band * 24 + token, 0]
        assert found.item() == pytest.approx(frames.mean().item(), abs=1e-6)


def test_a_window_shorter_than_its_recordings_is_refused():
    with pytest.raises(ValueError, match="longest recording"):
        Window(5, Hearing(stack=2, longest=6))
