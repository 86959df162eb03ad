"""Audio-lm: codes are those of the nearest directions, streams are joined recordings."""

import itertools
import math

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.speech.audio_lm import IGNORED, quantise


def test_a_code_is_the_direction_with_the_smallest_angle_whatever_the_loudness():
    task = make("audio-lm")
    params, tokens = task.recipe.data, task._recordings["test"].tokens[:3, :4]
    drawing = generator("audio-lm", "quantiser")
    projection = torch.randn(params.sketch, tokens.shape[-1], generator=drawing)
    directions = torch.randn(params.codes, params.sketch, generator=drawing)
    for token, code in zip(tokens.flatten(0, 1), quantise(tokens, params).flatten(), strict=True):
        sketch = projection @ token
        angles = [
            math.acos(min(1, float(sketch @ one / (sketch.norm() * one.norm()))))
            for one in directions
        ]
        assert code == min(range(params.codes), key=angles.__getitem__)
    assert torch.equal(quantise(3.5 * tokens, params), quantise(tokens, params))


def test_a_stream_is_six_recordings_of_one_speaker():
    task, batch = make("audio-lm"), draw("audio-lm", 12)
    recordings, codes = task._recordings["train"], task._codes["train"]
    by_speaker = {}
    for row in range(len(codes)):
        said = tuple(codes[row, : recordings.lengths[row]].tolist())
        by_speaker.setdefault(int(recordings.speakers[row]), set()).add(said)

    def parts(stream, said, left):
        if not left:
            return not stream
        return any(
            stream[: len(one)] == one and parts(stream[len(one) :], said, left - 1) for one in said
        )

    for targets in batch["targets"].tolist():
        stream = tuple(code for code in targets if code != IGNORED)
        assert targets[len(stream) :] == [IGNORED] * (len(targets) - len(stream))
        assert any(parts(stream, said, 6) for said in by_speaker.values())


def test_the_input_is_the_stream_one_code_later():
    task, batch = make("audio-lm"), draw("audio-lm", 9)
    inputs, targets = batch["inputs"], batch["targets"]
    assert (inputs[:, 0] == task.recipe.data.codes).all()
    heard = targets[:, :-1] != IGNORED
    assert torch.equal(inputs[:, 1:][heard], targets[:, :-1][heard])


def test_bits_are_the_mean_over_the_stream_alone():
    task, batch = make("audio-lm"), draw("audio-lm", 3)
    codes = task.recipe.data.codes
    logits = torch.zeros(3, batch["targets"].shape[1], codes + 1)
    even = scored_by(task, batch, logits)["bits_per_code"]
    assert even.tolist() == pytest.approx([math.log2(codes + 1)] * 3)
    known = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), codes + 1) * 99.0
    assert scored_by(task, batch, known)["bits_per_code"].max() < 1e-6


def test_the_shortcut_counts_pairs_of_training_codes():
    task, batch = make("audio-lm", "smoke"), draw("audio-lm", 5, profile="smoke")
    codes = task.recipe.data.codes
    counts = {(a, b): 1 for a in range(codes) for b in range(codes)}
    recordings = task._recordings["train"]
    for row, length in zip(task._codes["train"].tolist(), recordings.lengths, strict=True):
        for a, b in itertools.pairwise(row[:length]):
            counts[a, b] += 1
    (score,) = task.shortcuts(batch).values()
    for row in range(5):
        stream = [code for code in batch["targets"][row].tolist() if code != IGNORED]
        bits = [math.log2(codes)]
        for a, b in itertools.pairwise(stream):
            share = counts[a, b] / sum(counts[a, other] for other in range(codes))
            bits.append(-math.log2(share))
        assert score[row].item() == pytest.approx(sum(bits) / len(bits), rel=1e-5)


def test_splits_share_no_example():
    assert_disjoint("audio-lm", 100)
