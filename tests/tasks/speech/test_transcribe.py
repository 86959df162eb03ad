"""Transcribe: each window of a string holds one whole recording, and its digit is the target."""

import pytest
from stream_support import make

from cab.seeding import generator
from cab.task import SPLITS


def test_the_recordings_are_divided_as_published():
    recordings = make("transcribe")._recordings
    assert {split: len(one.words) for split, one in recordings.items()} == {
        "train": 2520,
        "valid": 180,
        "test": 300,
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("level", range(5))
def test_each_window_is_a_recording_of_its_digit_by_one_speaker(level, split):
    task = make("transcribe").at_levels()[level]
    params, recordings = task.recipe.data, task._recordings[split]
    known = {
        said[:length].numpy().tobytes(): row
        for row, (said, length) in enumerate(
            zip(recordings.tokens, recordings.lengths.tolist(), strict=True)
        )
    }
    batch = task.draw(split, 30, generator("transcribe", level, split))
    windows = batch["source"].unflatten(1, (params.digits, params.longest))
    assert batch["targets"].shape == (30, params.digits)
    for string, digits in zip(windows, batch["targets"].tolist(), strict=True):
        rows = []
        for window in string:
            present = window.abs().sum(dim=1) > 0
            rows.append(known[window[present].numpy().tobytes()])
            places = present.nonzero().flatten().tolist()
            assert places == list(range(places[0], places[-1] + 1))
        assert [recordings.words[row].item() for row in rows] == digits
        assert len({recordings.speakers[row].item() for row in rows}) == 1


def test_a_recording_may_begin_anywhere_in_its_window():
    task = make("transcribe")
    params = task.recipe.data
    windows = task.draw("train", 300, generator("windows"))["source"].unflatten(
        1, (params.digits, params.longest)
    )
    present = windows.abs().sum(dim=3) > 0
    assert set(present.long().argmax(dim=2).flatten().tolist()) >= set(range(params.longest // 2))
    last = params.longest - 1 - present.flip(2).long().argmax(dim=2)
    assert last.max() == params.longest - 1
