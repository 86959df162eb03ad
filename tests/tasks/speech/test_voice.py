"""The synthetic voice: its formants stand where they are stated, its words and speakers differ."""

import math

import pytest
import torch

from cab.seeding import generator
from cab.tasks.speech._recordings import Hearing, synthetic_recordings
from cab.tasks.speech._voice import (
    BANDWIDTHS,
    FORMANTS,
    SAMPLE_RATE,
    WORDS,
    Speakers,
    Takes,
    draw_speakers,
    draw_takes,
    formant_tracks,
    resonate,
    say,
)


def plain_takes(samples=4000, pitch=100.0):
    """Each word once, by a speaker whose vocal tract is the table's, without any drift."""
    count = len(WORDS)
    values = {"tract": 1.0, "pitch": pitch, "tempo": 1.0, "breath": 0.001, "tilt": 0.0}
    voices = Speakers(**{name: torch.full((count,), value) for name, value in values.items()})
    return Takes(torch.arange(count), voices, torch.full((count,), samples), torch.ones(count, 3))


@pytest.mark.parametrize("vowel", FORMANTS)
def test_an_impulse_rings_at_the_formants_as_klatt_s_formula_says(vowel):
    length = 4096
    impulse = torch.zeros(1, length, dtype=torch.float64)
    impulse[0, 0] = 1
    formants = torch.tensor(FORMANTS[vowel], dtype=torch.float64)
    rung = resonate(impulse, formants.expand(1, length // 40 + 1, 3), torch.zeros(1))[0]
    found = torch.fft.rfft(rung).abs()
    hertz = torch.arange(length // 2 + 1) * SAMPLE_RATE / length
    delay = torch.exp(-2j * math.pi * hertz / SAMPLE_RATE)
    expected = torch.ones_like(found)
    for formant, bandwidth in zip(FORMANTS[vowel], BANDWIDTHS, strict=True):
        pole = math.exp(-math.pi * bandwidth / SAMPLE_RATE) * complex(
            math.cos(2 * math.pi * formant / SAMPLE_RATE),
            math.sin(2 * math.pi * formant / SAMPLE_RATE),
        )
        there = (1 - pole * delay) * (1 - pole.conjugate() * delay)
        expected = expected * abs((1 - pole) * (1 - pole.conjugate())) / there.abs()
    assert (found - expected).abs().max() < 1e-4 * expected.max()
    inside = found[1:-1]
    peaks = hertz[1:-1][(inside > found[:-2]) & (inside > found[2:])]
    for formant in FORMANTS[vowel]:
        assert (peaks - formant).abs().min() < 20


def test_a_word_glides_from_its_first_vowel_to_its_second():
    tracks = formant_tracks(plain_takes())
    for word, track in zip(WORDS, tracks, strict=True):
        first, second = (torch.tensor(FORMANTS[vowel]) for vowel in word)
        third = len(track) // 3
        assert torch.allclose(track[:third], first.expand(third, 3))
        assert torch.allclose(track[-third:], second.expand(third, 3))
        middle = track[len(track) // 2]
        assert (middle >= torch.minimum(first, second) - 1).all()
        assert (middle <= torch.maximum(first, second) + 1).all()


def test_a_word_sounds_as_its_vowels_in_their_order():
    said = say(plain_takes(), generator("words"))
    power = torch.fft.rfft(torch.stack((said[:, 300:1300], said[:, -1300:-300]))).abs().square()
    hertz = torch.arange(power.shape[-1]) * SAMPLE_RATE / 1000
    near = {
        vowel: sum(torch.exp(-(((hertz - f) / 60) ** 2)) for f in formants[:2])
        for vowel, formants in FORMANTS.items()
    }
    for row, word in enumerate(WORDS):
        for part, vowel in zip(power[:, row], word, strict=True):
            share = {name: (part * weight).sum() / part.sum() for name, weight in near.items()}
            rivals = [name for name in share if name not in ("o", "u") or name == vowel]
            assert max(rivals, key=share.get) == vowel


def test_words_are_ten_and_five_are_the_others_backwards():
    assert len(set(WORDS)) == 10
    assert {word[::-1] for word in WORDS} == set(WORDS)
    assert all(word[::-1] != word for word in WORDS)


def test_the_pitch_is_the_speaker_s():
    for pitch in (100.0, 200.0):
        said = say(plain_takes(pitch=pitch), generator("pitch"))
        middle = said[:, 1800:2200]  # where the falling pitch passes the speaker's own
        due = SAMPLE_RATE / pitch  # and not twice that, at which a voice is as like itself
        lags = range(int(0.6 * due), int(1.6 * due))
        likeness = torch.stack(
            [(middle * said[:, 1800 - lag : 2200 - lag]).mean(dim=1) for lag in lags]
        )
        period = torch.tensor(list(lags))[likeness.argmax(dim=0)]
        assert ((SAMPLE_RATE / period / pitch - 1).abs() < 0.06).all()


def test_speakers_differ_in_pitch_tract_tempo_breath_and_tilt():
    voices = draw_speakers(90, generator("speakers"))
    ranges = {"tract": (0.9, 1.2), "pitch": (90, 240), "tempo": (0.8, 1.25), "tilt": (0.5, 0.9)}
    for name, (low, high) in {**ranges, "breath": (0.02, 0.2)}.items():
        values = getattr(voices, name)
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.2 * (high - low) < values.max() <= high
        assert len(values.unique()) == 90


def test_a_take_is_as_loud_as_any_other_and_silent_after_its_end():
    drawing = generator("takes")
    words = torch.arange(10).repeat(3)
    voices = Speakers(*(value.repeat_interleave(10) for value in draw_speakers(3, drawing)))
    takes = draw_takes(words, voices, drawing)
    for sound, end in zip(say(takes, drawing), takes.samples.tolist(), strict=True):
        assert sound[:end].square().mean().sqrt().item() == pytest.approx(0.1, rel=1e-3)
        assert not sound[end:].any()
        assert sound.abs().max() < 1


def test_the_voice_is_the_same_each_time_and_leaves_the_global_generator_alone():
    hearing = Hearing(stack=8, longest=6)
    before = torch.get_rng_state()
    first = synthetic_recordings.__wrapped__(hearing)
    second = synthetic_recordings(hearing)
    assert torch.equal(torch.get_rng_state(), before)
    for split, recordings in first.items():
        assert all(a.equal(b) for a, b in zip(recordings, second[split], strict=True))


def test_no_synthetic_speaker_or_recording_is_in_two_splits():
    hearing = Hearing(stack=8, longest=6)
    splits = synthetic_recordings(hearing)
    heard = {
        split: {tokens.numpy().tobytes() for tokens in recordings.tokens}
        for split, recordings in splits.items()
    }
    assert {split: len(one) for split, one in heard.items()} == {
        "train": 1200,
        "valid": 200,
        "test": 400,
    }
    assert len(set.union(*heard.values())) == 1800
    speakers = {split: len(one.speakers.unique()) for split, one in splits.items()}
    assert speakers == {"train": 60, "valid": 10, "test": 20}
