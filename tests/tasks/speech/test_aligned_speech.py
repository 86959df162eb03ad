"""LJSpeech with phonemes: alignments are read, pitch is found, sentences become frames."""

from itertools import pairwise

import pytest
import torch
from speech_files import RATE, SAID, text_grid, tone, write_corpus

from cab.registry import discover_tasks
from cab.seeding import generator
from cab.tasks.speech import _aligned
from cab.tasks.speech._aligned import PHONEMES, SYMBOLS, read_alignment
from cab.tasks.speech._pitch import contour, fundamental


def test_silence_around_speech_is_cut_off_and_within_it_kept():
    found = read_alignment(text_grid(SAID))
    names = [PHONEMES[symbol - 1] for symbol in found.symbols]
    assert names == ["HH", "AY1", "sp", "T"]
    edges = [round(second * RATE / 256) for second in (0.1, 0.2, 0.35, 0.45, 0.6)]
    assert found.durations == [b - a for a, b in pairwise(edges)]
    assert (found.start, found.end) == (0.1, 0.6)
    assert len(set(PHONEMES)) == SYMBOLS - 1 == 15 * 3 + 24 + 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "no speech in a tier called phones"),
        (text_grid([(0.0, 1.0, "sil")]), "no speech"),
        (text_grid([(0.0, 1.0, "QQ")]), r"unknown phonemes \['QQ'\]"),
    ],
)
def test_a_file_that_is_no_alignment_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_alignment(text)


@pytest.mark.parametrize("hertz", [80.0, 123.4, 220.0, 411.0])
def test_the_pitch_of_a_tone_is_its_frequency(hertz):
    found = fundamental(tone(hertz), RATE, 1024, 256)
    assert found.shape == (1 + 9_000 // 256,)
    assert found[6:-6].tolist() == pytest.approx([hertz] * (len(found) - 12), rel=2e-3)


def test_noise_and_silence_have_no_pitch():
    noise = torch.randn(9_000, generator=generator("noise")) * 0.1
    assert (fundamental(noise, RATE, 1024, 256) > 0).float().mean() < 0.1
    assert not fundamental(torch.zeros(3_000), RATE, 1024, 256).any()


def test_a_pitch_that_is_missing_lies_on_the_line_between_its_neighbours():
    found = contour(torch.tensor([0, 100.0, 0, 0, 800.0, 0])).exp().tolist()
    assert found == pytest.approx([100, 100, 200, 400, 800, 800], rel=1e-4)
    assert not contour(torch.zeros(4)).any()


@pytest.fixture
def home(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_corpus(tmp_path)
    _aligned.aligned_corpus.cache_clear()
    yield tmp_path
    _aligned.aligned_corpus.cache_clear()


def test_sentences_have_durations_pitch_and_energy_of_each_phoneme(home):
    task_class = discover_tasks().load("tts-fastspeech-ljspeech")
    task = task_class(task_class.recipes["full"], home)
    test = task.draw("test", 2, generator("aligned"))
    corpus = _aligned.aligned_corpus(home)
    assert [len(corpus.of_split[split]) for split in ("train", "valid", "test")] == [2, 1, 2]
    expected = read_alignment(text_grid(SAID))
    assert test["inputs"][0, :5].tolist() == [*expected.symbols, 0]
    assert test["durations"][0, :5].tolist() == [*expected.durations, 0]
    assert test["lengths"].tolist() == [sum(expected.durations)] * 2
    assert test["durations"].sum(dim=1).equal(test["lengths"])
    mean, deviation = corpus.variances["pitch"]
    hertz = (test["pitch"][:, :4] * deviation + mean).exp()
    assert hertz[0].tolist() == pytest.approx([100] * 4, rel=0.03)
    assert hertz[1].tolist() == pytest.approx([120] * 4, rel=0.03)
    frames = test["targets"][0, : test["lengths"][0]] * corpus.moments[1] + corpus.moments[0]
    mean, deviation = corpus.variances["energy"]
    loudness = frames.exp().sum(dim=1).log() / 2
    first = loudness[: expected.durations[0]].mean().item()
    assert (test["energy"][0, 0] * deviation + mean).item() == pytest.approx(first, rel=1e-3)
    assert not test["targets"][0, test["lengths"][0] :].any()


def test_a_longer_sentence_is_cut_at_its_phonemes_and_frames(home):
    task_class = discover_tasks().load("tts-fastspeech-ljspeech")
    task = task_class(task_class.recipes["full"], home)
    corpus = _aligned.aligned_corpus(home)
    cut = corpus.draw(_aligned.Phonemes(3, 15), "test", 1, generator("cut"))
    whole = task.draw("test", 1, generator("cut"))
    durations = whole["durations"][0, :3].tolist()
    assert cut["durations"][0].tolist() == [durations[0], 15 - durations[0], 0]
    assert cut["lengths"].tolist() == [15]
    assert torch.equal(cut["targets"], whole["targets"][:, :15])
