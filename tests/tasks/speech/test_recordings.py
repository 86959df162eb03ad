"""Recordings are joined whole and in order, chosen by word and speaker, and heard as told."""

import pytest
import torch
from stream_support import make

from cab.data.audio import log_mel
from cab.seeding import generator
from cab.tasks.speech._recordings import Hearing, Recordings, distinct, hear, join, pick


def small_recordings(speakers=3, words=10, takes=4, longest=5, features=2):
    count = speakers * words * takes
    drawing = generator("small recordings")
    order = torch.randperm(count, generator=drawing)
    lengths = torch.randint(1, longest + 1, (count,), generator=drawing)
    tokens = torch.randn(count, longest, features, generator=drawing)
    tokens = tokens * (torch.arange(longest) < lengths[:, None])[..., None]
    each = torch.arange(count)[order]
    return Recordings(tokens, lengths, each // takes % words, each // (takes * words))


def test_a_stream_is_its_recordings_one_after_the_other():
    recordings = small_recordings()
    chosen = torch.randint(120, (7, 3), generator=generator("chosen"))
    stream = join(recordings, chosen)
    assert stream.tokens.shape == (7, 15, 2)
    for row, three in enumerate(chosen.tolist()):
        parts = [recordings.tokens[one, : recordings.lengths[one]] for one in three]
        joined = torch.cat(parts)
        assert stream.tokens[row, : len(joined)].equal(joined)
        assert not stream.tokens[row, len(joined) :].any()
        assert stream.padding[row].tolist() == [at >= len(joined) for at in range(15)]
        begins = [sum(len(part) for part in parts[:i]) for i in range(4)]
        assert stream.begins[row].tolist() == begins[:3]
        assert stream.ends[row].tolist() == begins[1:]


def test_words_are_picked_of_one_speaker_and_again_in_another_recording():
    recordings = small_recordings()
    words = distinct(200, 6, 10, generator("words"))
    words = torch.cat((words, words.flip(1), words[:, :3]), dim=1)
    chosen = pick(recordings, words, generator("picked"))
    assert recordings.words[chosen].equal(words)
    speakers = recordings.speakers[chosen]
    assert speakers.equal(speakers[:, :1].expand_as(speakers))
    assert set(speakers.flatten().tolist()) == {0, 1, 2}
    assert all(len(set(row)) == 15 for row in chosen.tolist())
    assert len(chosen.unique()) == 120


def test_distinct_draws_every_index_equally_often():
    drawn = distinct(5000, 3, 5, generator("distinct"))
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    share = torch.stack([(drawn == index).float().mean(dim=0) for index in range(5)])
    assert (share - 0.2).abs().max() < 0.03


def test_hearing_stacks_mel_frames_and_drops_what_fills_no_token():
    drawing = generator("waveforms")
    waveforms = [torch.randn(samples, generator=drawing) * 0.1 for samples in (750, 1600, 5000)]
    tokens, lengths = hear(waveforms, Hearing(stack=3, longest=6))
    assert tokens.shape == (3, 6, 120)
    assert lengths.tolist() == [2, 5, 6]
    for row, (waveform, length) in enumerate(zip(waveforms, lengths.tolist(), strict=True)):
        mel = log_mel(waveform, sample_rate=8000)[: 3 * length]
        assert torch.allclose(tokens[row, :length], mel.reshape(length, 120), atol=1e-3)


@pytest.mark.parametrize("name", ["align", "align-fsdd"])
def test_tokens_are_standardised_by_the_training_recordings(name):
    recordings = make(name)._recordings["train"]
    present = torch.arange(recordings.tokens.shape[1]) < recordings.lengths[:, None]
    heard = recordings.tokens[present]
    assert torch.allclose(heard.mean(dim=0), torch.zeros(heard.shape[1]), atol=1e-3)
    assert torch.allclose(heard.std(dim=0), torch.ones(heard.shape[1]), atol=1e-3)
    assert not recordings.tokens[~present].any()


def test_no_real_recording_is_in_two_splits():
    splits = make("align-fsdd")._recordings
    heard = {
        split: {tokens.numpy().tobytes() for tokens in recordings.tokens}
        for split, recordings in splits.items()
    }
    assert sum(map(len, heard.values())) == len(set.union(*heard.values())) == 3000
    assert splits["test"].table.shape == (6, 10, 5)
    assert splits["train"].table.shape == (6, 10, 42)
