"""The memory decoder: it reads all of the memory, in any order, and none of the future."""

import pytest
import torch
from support import VARIANTS, draw, relative_difference

from cab.attention import build_attention
from cab.backbones.memory_decoder import MemoryDecoder, MemoryDecoderConfig
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern

WIDTH = Width(dim=12, heads=3, layers=2)
TOKENS = torch.tensor([[1, 7, 3, 0], [2, 2, 10, 5], [4, 6, 8, 9]])


def built(variant: str = "softmax") -> MemoryDecoder:
    def factory(name):
        return lambda **geometry: build_attention(VARIANTS.load(name), {}, **geometry)

    config = MemoryDecoderConfig(WIDTH, features=5, vocabulary=11, length=9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MemoryDecoder(config, Slots(Pattern.CC, factory(variant), factory("softmax")))
    return model.double().eval()


@pytest.mark.parametrize("variant", ["softmax", "linear", "mean"])
def test_later_tokens_do_not_change_earlier_logits(variant):
    model, memory = built(variant), draw(3, 9, 5)
    before = model(memory, TOKENS)
    for cut in range(1, 4):
        changed = torch.cat((TOKENS[:, :cut], (TOKENS[:, cut:] + 5) % 11), dim=1)
        after = model(memory, changed)
        assert relative_difference(after[:, :cut], before[:, :cut]) <= 1e-12
        assert not torch.allclose(after[:, cut:], before[:, cut:])


def test_every_token_of_the_memory_counts_and_their_order_does_not():
    model, memory = built(), draw(3, 9, 5)
    before = model(memory, TOKENS)
    assert relative_difference(model(memory.flip(1), TOKENS), before) <= 1e-12
    for place in range(9):
        changed = memory.clone()
        changed[:, place] += 1
        assert ((model(changed, TOKENS) - before).abs().amax(dim=(1, 2)) > 1e-9).all()


def test_without_the_variant_under_test_nothing_is_read():
    model = built("none")
    assert torch.equal(model(draw(3, 9, 5), TOKENS), model(draw(3, 9, 5, seed=1), TOKENS))


def test_generation_is_the_likeliest_token_given_those_before_it():
    model, memory = built(), draw(3, 9, 5)
    written = model.generate(memory, TOKENS[:, :2], steps=5)
    fed = torch.cat((TOKENS[:, :2], written[:, :-1]), dim=1)
    assert written.equal(model(memory, fed)[:, 1:].argmax(dim=-1))
