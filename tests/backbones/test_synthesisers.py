"""FastSpeech 2 and Transformer-TTS: durations, padding, the future, and speech by itself."""

from functools import partial

import pytest
import torch
from support import VARIANTS, draw, relative_difference, right_padding

from cab.attention import build_attention
from cab.backbones.fast_speech import FastSpeech, FastSpeechConfig, Variances, regulate
from cab.backbones.slots import Slots, Width
from cab.backbones.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from cab.taxonomy import Pattern

WIDTH = Width(dim=12, heads=3, layers=2)
LENGTHS = [6, 3, 1]
SYMBOLS = torch.tensor([[1, 4, 2, 2, 3, 1], [2, 1, 4, 0, 0, 0], [3, 0, 0, 0, 0, 0]])
PADDING = right_padding(LENGTHS, 6)
DURATIONS = torch.tensor([[2, 1, 0, 3, 1, 4], [5, 2, 1, 7, 7, 7], [3, 9, 9, 9, 9, 9]])


def slots_for(pattern, variant="linear"):
    reference = partial(build_attention, VARIANTS.load("softmax"), {})
    return Slots(Pattern(pattern), partial(build_attention, VARIANTS.load(variant), {}), reference)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double().eval()


def fast_speech(target_length=40):
    config = FastSpeechConfig(WIDTH, 5, 7, 6, target_length, kernel=3, bins=8)
    return seeded(lambda: FastSpeech(config, slots_for("ns")))


def transformer(pattern="cs"):
    config = SpeechTransformerConfig(WIDTH, 5, 7, 3, 6, 8, prenet=10)
    return seeded(lambda: SpeechTransformer(config, slots_for(pattern)))


def known():
    return Variances(DURATIONS, draw(3, 6), draw(3, 6) + 0.5)


@pytest.mark.parametrize("longest", [40, 9, 4])
def test_a_symbol_is_repeated_for_its_frames(longest):
    x = draw(3, 6, 2)
    frames, padding = regulate(x, DURATIONS.masked_fill(PADDING, 0), longest)
    for row, length in enumerate(LENGTHS):
        said = [x[row, at] for at in range(length) for _ in range(DURATIONS[row, at])][:longest]
        assert torch.equal(frames[row, : len(said)], torch.stack(said))
        assert padding[row].tolist() == [at >= len(said) for at in range(frames.shape[1])]
    assert frames.shape[1] == min(longest, 11)


@pytest.mark.parametrize("variances", ["known", "predicted"])
def test_padded_symbols_change_nothing_of_fast_speech(variances):
    model, told = fast_speech(), known() if variances == "known" else None
    with torch.no_grad():
        together = model(SYMBOLS, PADDING, told)
        changed = model(SYMBOLS.masked_fill(PADDING, 4), PADDING, told)
        assert torch.equal(together.frames, changed.frames)
        for row, length in enumerate(LENGTHS):
            cut = None if told is None else Variances(*(v[row : row + 1, :length] for v in told))
            alone = model(SYMBOLS[row : row + 1, :length], PADDING[row : row + 1, :length], cut)
            frames = alone.frames.shape[1]
            assert frames == (~together.padding[row]).sum()
            assert relative_difference(together.frames[row, :frames], alone.frames[0]) <= 1e-12
            for ours, own in zip(together[2:], alone[2:], strict=True):
                assert relative_difference(ours[row, :length], own[0]) <= 1e-12


def test_fast_speech_s_frames_depend_on_every_symbol_and_on_what_is_known():
    model, told = fast_speech(), known()
    before = model(SYMBOLS, PADDING, told).frames
    for at in range(6):
        changed = SYMBOLS.clone()
        changed[:, at] = (changed[:, at] + 1) % 5
        moved = (model(changed, PADDING, told).frames - before).abs().amax(dim=(1, 2)) > 1e-6
        assert moved.tolist() == [at < length for length in LENGTHS]
    for name in ("pitch", "energy"):
        other = told._replace(**{name: getattr(told, name) + 1.5})
        assert (model(SYMBOLS, PADDING, other).frames - before).abs().max() > 1e-6


def test_predicted_durations_say_how_long_fast_speech_speaks():
    model = fast_speech()
    with torch.no_grad():
        model.duration.head.weight.zero_()
        model.duration.head.bias.fill_(torch.log(torch.tensor(1 + 4.0)))
        said = model(SYMBOLS, PADDING)
        assert (~said.padding).sum(dim=1).tolist() == [4 * length for length in LENGTHS]
        model.duration.head.bias.fill_(-9.0)
        assert (~model(SYMBOLS, PADDING).padding).sum(dim=1).tolist() == LENGTHS
        model.duration.head.bias.fill_(20.0)
        assert model(SYMBOLS, PADDING).frames.shape[1] == 40


@pytest.mark.parametrize("pattern", ["ns", "cs", "cc"])
def test_padded_symbols_change_nothing_of_the_transformer(pattern):
    model, frames = transformer(pattern), draw(3, 12, 7)
    with torch.no_grad():
        together = model(SYMBOLS, PADDING, frames)
        for row, length in enumerate(LENGTHS):
            one = slice(row, row + 1)
            alone = model(SYMBOLS[one, :length], PADDING[one, :length], frames[one])
            for ours, own in zip(together, alone, strict=True):
                assert relative_difference(ours[row], own[0]) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs", "cc"])
def test_a_step_depends_on_the_frames_before_it_only_and_on_every_symbol(pattern):
    model, frames = transformer(pattern), draw(3, 12, 7)
    with torch.no_grad():
        # As trained: the post-net corrects.
        model.postnet.convolutions[-1].weight.normal_(generator=torch.Generator().manual_seed(1))
        before = model(SYMBOLS, PADDING, frames)
        for step in range(4):
            changed = frames.clone()
            changed[:, 3 * step :] += 1
            after = model(SYMBOLS, PADDING, changed)
            for ours, own in zip(after[:2], before[:2], strict=True):
                told = 3 * (step + 1)
                assert relative_difference(ours[:, :told], own[:, :told]) <= 1e-12
                assert told == 12 or (ours[:, told:] - own[:, told:]).abs().max() > 1e-6
            assert (
                relative_difference(after.stop[:, : step + 1], before.stop[:, : step + 1]) < 1e-12
            )
        for at in range(6):
            other = SYMBOLS.clone()
            other[:, at] = (other[:, at] + 1) % 5
            moved = model(other, PADDING, frames).frames - before.frames
            assert (moved.abs().amax(dim=(1, 2)) > 1e-6).tolist() == [at < n for n in LENGTHS]


def test_what_the_transformer_says_by_itself_is_what_it_says_when_fed_with_it():
    model = transformer()
    with torch.no_grad():
        model.stop.bias.fill_(-50.0)
        frames, lengths = model.generate(SYMBOLS, PADDING)
        assert frames.shape == (3, 24, 7)
        assert lengths.tolist() == [24, 24, 24]
        # The post-net corrects nothing yet, so what was said is what was fed.
        fed = model(SYMBOLS, PADDING, frames)
        assert relative_difference(fed.frames, frames) <= 1e-12


def test_speech_ends_with_the_first_step_that_says_so():
    model = transformer()
    with torch.no_grad():
        first = model(SYMBOLS, PADDING, draw(3, 3, 7)).stop[:, 0]
        lowest, middle, highest = first.sort().values.tolist()
        for cut, stopping in ((lowest - 1, 3), ((middle + highest) / 2, 1), (highest + 1, 0)):
            model.stop.bias.sub_(cut)
            lengths = model.generate(SYMBOLS, PADDING)[1]
            model.stop.bias.add_(cut)
            assert (lengths == 3).tolist() == (first > cut).tolist()
            assert (lengths == 3).sum() == stopping
