"""The frame reader and the query reader: padding, the future and other questions stay out."""

from functools import partial

import pytest
import torch
from support import VARIANTS, draw, relative_difference, right_padding

from cab.attention import build_attention
from cab.backbones.frame_reader import FrameReader, FrameReaderConfig
from cab.backbones.query_reader import QueryReader, QueryReaderConfig
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern

LENGTHS = [9, 4, 1]
QUESTIONS = torch.tensor([[1, 6, 3], [0, 2, 5], [4, 4, 1]])


def slots_for(pattern, variant):
    reference = partial(build_attention, VARIANTS.load("softmax"), {})
    return Slots(Pattern(pattern), partial(build_attention, VARIANTS.load(variant), {}), reference)


def width(convolution):
    return Width(dim=12, heads=3, layers=2, short_convolution=convolution)


def frame_reader(pattern, variant="softmax", convolution=3):
    config = FrameReaderConfig(width(convolution), 5, 4, 9, causal=Pattern(pattern).causal)
    return seeded(lambda: FrameReader(config, slots_for(pattern, variant)))


def query_reader(variant="softmax", convolution=3, grid=None):
    config = QueryReaderConfig(width(convolution), 5, 9, questions=7, answers=4, grid=grid)
    return seeded(lambda: QueryReader(config, slots_for("nc", variant)))


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double().eval()


@pytest.mark.parametrize("fill", [0.0, 1e3, float("nan")])
@pytest.mark.parametrize("convolution", [0, 3, 4])
@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_padded_frames_change_no_answer_of_the_others(pattern, convolution, fill):
    model, padding = frame_reader(pattern, "linear", convolution), right_padding(LENGTHS, 9)
    frames = draw(3, 9, 5)
    with torch.no_grad():
        out = model(frames.masked_fill(padding[:, :, None], fill), padding)
        for row, length in enumerate(LENGTHS):
            alone = model(frames[row : row + 1, :length], padding[row : row + 1, :length])
            assert relative_difference(out[row, :length], alone[0]) <= 1e-12


@pytest.mark.parametrize("variant", ["softmax", "linear", "window", "mean"])
def test_a_causal_reader_s_answers_do_not_depend_on_later_frames(variant):
    model, frames = frame_reader("cs", variant), draw(2, 9, 5)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    with torch.no_grad():
        before = model(frames, padding)
        for cut in range(1, 9):
            changed = frames.clone()
            changed[:, cut:] += 1
            moved = (model(changed, padding) - before).abs().amax(dim=(0, 2))
            assert moved[:cut].max() <= 1e-12
            assert moved[cut:].min() > 1e-6


def test_a_noncausal_reader_s_answers_depend_on_every_frame():
    model, frames = frame_reader("ns"), draw(1, 9, 5).requires_grad_()
    padding = torch.zeros(1, 9, dtype=torch.bool)
    for at in range(9):
        (gradient,) = torch.autograd.grad(model(frames, padding)[0, at].sum(), frames)
        assert (gradient.abs().sum(dim=2) > 0).all()


@pytest.mark.parametrize("fill", [0.0, 1e3, float("nan")])
@pytest.mark.parametrize("variant", ["softmax", "linear", "mean"])
def test_padded_source_tokens_change_no_answer(variant, fill):
    model, padding = query_reader(variant), right_padding(LENGTHS, 9)
    source = draw(3, 9, 5)
    with torch.no_grad():
        out = model(source.masked_fill(padding[:, :, None], fill), QUESTIONS, padding)
        for row, length in enumerate(LENGTHS):
            alone = model(source[row : row + 1, :length], QUESTIONS[row : row + 1])
            assert relative_difference(out[row], alone[0]) <= 1e-12


def test_a_question_is_answered_whatever_else_is_asked_and_depends_on_the_whole_source():
    model, source = query_reader(grid=(3, 3)), draw(3, 9, 5).requires_grad_()
    together = model(source, QUESTIONS)
    assert together.shape == (3, 3, 4)
    for at in range(3):
        alone = model(source, QUESTIONS[:, at : at + 1])
        assert relative_difference(together[:, at], alone[:, 0]) <= 1e-12
    (gradient,) = torch.autograd.grad(together[:, 0].square().sum(), source)
    assert (gradient.abs().sum(dim=2) > 0).all()
    assert not torch.allclose(together[0, 0], together[0, 1])


def test_slots_are_named_and_the_encoder_of_a_picture_knows_its_grid():
    for causal, name in ((False, "encoder_self"), (True, "decoder_self")):
        slots = slots_for("cs" if causal else "ns", "mean")
        FrameReader(FrameReaderConfig(width(0), 5, 4, 9, causal), slots)
        assert [slot for slot, _, _ in slots.filled] == [name] * 2
    slots = slots_for("nc", "mean")
    QueryReader(QueryReaderConfig(width(0), 5, 9, 7, 4, grid=(3, 3)), slots)
    expected = [("encoder_self", (3, 3))] * 2 + [("cross", None)] * 2
    assert [(slot, module.grid) for slot, _, module in slots.filled] == expected
