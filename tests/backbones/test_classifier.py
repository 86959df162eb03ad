"""Classifiers: padding and the other document stay out, pooling is the mean of what is there."""

from functools import partial

import pytest
import torch
from support import VARIANTS, draw, relative_difference, right_padding

from cab.attention import build_attention
from cab.backbones.classifier import Classifier, ClassifierConfig, SequenceEncoder
from cab.backbones.slots import Slots, Width
from cab.backbones.two_tower import TwoTower, TwoTowerConfig
from cab.seeding import generator
from cab.taxonomy import Pattern

WIDTH = Width(dim=12, heads=3, layers=2, short_convolution=3)


def made(backbone, config, seed=0):
    factory = partial(build_attention, VARIANTS.load("softmax"), {})
    slots = Slots(Pattern.NS, factory, factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return backbone(config, slots).double().eval(), slots


def tokens_of(*shape, vocabulary=9):
    return torch.randint(1, vocabulary, shape, generator=generator("tokens", *shape))


@pytest.mark.parametrize("pool", ["mean", "first", "cls"])
def test_a_padded_row_is_answered_as_the_row_alone(pool):
    model, slots = made(Classifier, ClassifierConfig(WIDTH, 5, 11, vocabulary=9, pool=pool))
    tokens, lengths = tokens_of(4, 11), [11, 1, 7, 4]
    padding = right_padding(lengths, 11)
    logits = model(tokens.masked_fill(padding, 0), padding)
    assert logits.shape == (4, 5)
    for row, length in enumerate(lengths):
        alone = model(tokens[row : row + 1, :length])
        assert relative_difference(logits[row : row + 1], alone) < 1e-12
    names = [(name, str(pattern)) for name, pattern, _ in slots.filled]
    assert names == [("encoder_self", "ns")] * 2


def test_what_is_pooled_is_the_mean_or_the_first():
    frames = draw(3, 10, 4)
    padding = right_padding([10, 6, 2], 10)
    for pool in ("mean", "first"):
        config = ClassifierConfig(WIDTH, 5, 10, features=4, pool=pool)
        model, _ = made(SequenceEncoder, config)
        x = model.positions(model.embedding(frames))
        for layer in model.layers:
            x = layer(x, padding=padding)
        x = model.norm(x)
        expected = [x[row, :length].mean(dim=0) for row, length in enumerate((10, 6, 2))]
        expected = x[:, 0] if pool == "first" else torch.stack(expected)
        assert relative_difference(model(frames, padding), expected) < 1e-12


def test_a_token_of_its_own_stands_before_all_others_and_reads_each_of_them():
    config = ClassifierConfig(WIDTH, 5, 10, features=4, pool="cls")
    model, slots = made(SequenceEncoder, config)
    assert [one.max_length for _, _, one in slots.filled] == [11, 11]
    frames = draw(2, 10, 4)
    base = model(frames)
    for place in range(10):
        changed = frames.clone()
        changed[:, place] += 1
        assert relative_difference(model(changed), base) > 1e-6
    with torch.no_grad():
        model.cls[0] += 1
    assert relative_difference(model(frames), base) > 1e-3
    with pytest.raises(ValueError, match="tokens form no grid"):
        ClassifierConfig(WIDTH, 5, 9, vocabulary=4, pool="cls", grid=(3, 3))


def test_a_picture_tells_its_grid_to_the_slots():
    config = ClassifierConfig(WIDTH, 5, 6, features=4, grid=(2, 3))
    model, slots = made(Classifier, config)
    assert {module.grid for _, _, module in slots.filled} == {(2, 3)}
    pixels = draw(2, 6, 4)
    assert relative_difference(model(pixels), model(pixels.roll(1, dims=1))) > 1e-3


def test_a_classifier_reads_tokens_or_frames_and_not_both():
    for sizes in ({}, {"vocabulary": 3, "features": 4}):
        with pytest.raises(ValueError, match="needs either vocabulary or features, and not both"):
            ClassifierConfig(WIDTH, 5, 6, **sizes)


@pytest.mark.parametrize("join", ["ends", "products"])
def test_the_towers_are_one_encoder_and_meet_in_the_head_alone(join):
    model, slots = made(TwoTower, TwoTowerConfig(WIDTH, 9, 11, 3, join))
    assert len(slots.filled) == WIDTH.layers
    pairs = tokens_of(4, 2, 11)
    padding = torch.stack((right_padding([11, 3, 7, 5], 11), right_padding([2, 11, 6, 9], 11)), 1)
    pairs = pairs.masked_fill(padding, 0)
    logits = model(pairs, padding)
    one, two = (model.encoder(pairs[:, side], padding[:, side]) for side in (0, 1))
    joined = [one, two] if join == "ends" else [one, two, one * two, one - two]
    assert relative_difference(logits, model.head(torch.cat(joined, dim=-1))) < 1e-12
    vectors = model.encoder(pairs[:, 0].flip(0), padding[:, 0].flip(0)).flip(0)
    assert relative_difference(vectors, one) < 1e-12
