"""Text to speech: utterances are what is written, and speech is compared as CAB does."""

import pytest
import torch
from published_support import encoded, wav, write_parquet
from task_support import assert_disjoint, draw, make, softmax_slots

from cab.backbones.fast_speech import Spoken
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.tasks.speech import _ljspeech
from cab.tasks.speech._distortion import cepstra, distortion
from cab.tasks.speech._utterances import VOWELS, energies, moments, takes
from cab.tasks.speech._voice import WORDS

TASKS = ["tts-fastspeech", "tts-transformer-cs", "tts-transformer-cc", "tts-transformer-ns"]


def test_no_take_is_in_two_splits_and_every_word_is_said_equally_often():
    each = takes()
    for split, count in (("train", 24), ("valid", 4), ("test", 8)):
        assert torch.bincount(each[split].words, minlength=10).tolist() == [count] * 10
        assert each[split].lengths.min() >= 20
        assert each[split].lengths.max() <= 48
    sounds = {tuple(frames[5].tolist()) for one in each.values() for frames in one.frames}
    assert len(sounds) == 360


def test_an_utterance_is_its_words_takes_one_after_the_other():
    batch, spoken, measured = draw("tts-fastspeech", 20), takes()["train"], moments().frames
    for row in range(20):
        pairs = batch["inputs"][row].view(3, 2)
        written = ["".join(VOWELS[symbol - 1] for symbol in pair) for pair in pairs]
        assert set(written) <= set(WORDS)
        frames, start = batch["targets"][row] * measured[1] + measured[0], 0
        for place, word in enumerate(written):
            first, second = batch["durations"][row, 2 * place : 2 * place + 2].tolist()
            assert second - first in (0, 1)
            said = frames[start : start + first + second]
            start += first + second
            known = [
                take[:length]
                for take, length, which in zip(
                    spoken.frames, spoken.lengths, spoken.words, strict=True
                )
                if WORDS[which] == word and length == first + second
            ]
            assert min((said - take).abs().max() for take in known) < 1e-3
        assert start == batch["lengths"][row]
        assert (batch["targets"][row, start:] == 0).all()


def test_a_symbol_s_energy_is_the_mean_of_its_frames():
    batch = draw("tts-fastspeech", 4)
    for row in range(4):
        start = 0
        for symbol, frames in enumerate(batch["durations"][row].tolist()):
            expected = batch["targets"][row, start : start + frames].mean().item()
            assert batch["energy"][row, symbol].item() == pytest.approx(expected, abs=1e-4)
            start += frames
    nothing = energies(torch.ones(1, 3, 2), torch.tensor([[0, 2, 0]]))
    assert nothing.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("name", TASKS)
def test_the_recorded_frames_are_not_distorted_and_the_mean_frame_is(name):
    task, batch = make(name), draw(name, 5)
    perfect = task.compare(batch["targets"], batch["lengths"], batch)
    assert max(scores.max() for scores in perfect.values()) < 1e-3
    (mean,) = task.shortcuts(batch).values()
    assert (mean > 1).all()


def test_distortions_are_of_log_mel_in_natural_logarithms_and_of_13_cepstra():
    task, batch = make("tts-fastspeech"), draw("tts-fastspeech", 3)
    said, lengths = batch["targets"].roll(1, dims=0), batch["lengths"].roll(1)
    mean, deviation = moments().frames
    ours, true = (frames * deviation + mean for frames in (said, batch["targets"]))
    scores = task.compare(said, lengths, batch)
    for name, change in (("msd", lambda frames: frames), ("mcd", cepstra)):
        for row in range(3):
            m, n = int(lengths[row]), int(batch["lengths"][row])
            alone = distortion(
                change(ours[row : row + 1, :m]),
                lengths[row : row + 1],
                change(true[row : row + 1, :n]),
                batch["lengths"][row : row + 1],
            )
            assert scores[name][row].item() == pytest.approx(alone.item(), rel=1e-4)
    assert cepstra(ours).shape[-1] == 13


def test_fast_speech_s_loss_is_zero_for_who_says_and_predicts_what_was_recorded():
    task, batch = make("tts-fastspeech"), draw("tts-fastspeech", 3)

    def answer(symbols, padding, known):
        silent = torch.arange(144) >= batch["lengths"][:, None]
        return Spoken(
            batch["targets"], silent, (1 + known.durations).log(), known.pitch, known.energy
        )

    assert task.loss(answer, batch).item() == 0


@pytest.mark.parametrize("name", TASKS)
def test_what_is_behind_the_end_of_an_utterance_is_never_learned_from(name):
    task, batch = make(name, "smoke"), draw(name, 4, profile="smoke")
    model = task.build(softmax_slots(task.card.pattern)).eval()
    loss = task.loss(model, batch).item()
    behind = torch.arange(batch["targets"].shape[1]) >= batch["lengths"][:, None]
    # The transformer's step hears the frame before it, which is behind the end only after the end.
    changed = dict(batch, targets=batch["targets"] + 5.0 * behind[..., None])
    assert task.loss(model, changed).item() == pytest.approx(loss, rel=1e-5)
    changed = dict(batch, targets=batch["targets"] + 5.0 * ~behind[..., None])
    assert task.loss(model, changed).item() > loss + 0.1


@pytest.mark.parametrize("name", TASKS[:2])
def test_splits_share_no_example(name):
    assert_disjoint(name, 60)


def noise(samples, seed, rate=22_050):
    waveform = torch.randn(samples, generator=generator("ljspeech", seed)) * 0.1
    return waveform, encoded(wav(waveform.numpy(), rate))


def test_ljspeech_is_read_from_the_hub_s_form_and_divided_by_book(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    books = ["LJ001-1", "LJ002-7", "LJ003-2", "LJ004-1", "LJ050-3"]
    rows = {
        "id": books,
        "audio": [noise(2_000 + 300 * at, at)[1] for at in range(5)],
        "normalized_text": ["A test.", "Ünder way", "so, so", "read", "on and on"],
        "file": [""] * 5,
    }
    write_parquet(tmp_path / "ljspeech" / "main" / "train" / "0000.parquet", rows)
    task_class = discover_tasks().load("tts-transformer-ljspeech-cs")
    task = task_class(task_class.recipes["standard"], tmp_path)
    _ljspeech.corpus.cache_clear()
    test = task.draw("test", 2, generator("ljspeech"))
    train = task.draw("train", 30, generator("ljspeech"))
    moments = task.moments
    _ljspeech.corpus.cache_clear()
    assert test["inputs"].shape == (2, 200)
    spelt = [1 + _ljspeech.CHARACTERS.index(one) for one in "nder way"]
    assert test["inputs"][1, :9].tolist() == [*spelt, 0]
    assert test["lengths"].tolist() == [1 + 2_000 // 256, 1 + 2_300 // 256]
    assert set(train["lengths"].tolist()) == {1 + 2_900 // 256, 1 + 3_200 // 256}
    assert test["targets"].shape == (2, 880, 80)
    heard = test["targets"][1, : test["lengths"][1]] * moments[1] + moments[0]
    waveform, _ = noise(2_300, 1)
    expected = _ljspeech.log_mel(waveform, sample_rate=22_050, bands=80, window=1024, hop=256)
    # Sixteen bits a sample, of noise that is louder by far.
    assert (heard - expected).abs().max() < 0.05


def test_another_sample_rate_is_refused():
    row = {"id": "LJ009-1", "audio": noise(900, 0, 16_000)[1], "normalized_text": "no"}
    with pytest.raises(ValueError, match="LJ009-1 has 16000 samples a second, not 22050"):
        _ljspeech._hear(row)
