"""A decoder answers token by token what it answers to the whole sequence."""

import pytest
import torch
from support import VARIANTS, draw

from cab.attention import MultiHeadAttention, build_attention
from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.backbones.stepping import can_step, start, step
from cab.errors import Unsupported
from cab.seeding import generator
from cab.taxonomy import Pattern

VOCABULARY, LENGTH = 11, 23
STEPPING = ["softmax", "linear", "gla", "window", "mean"]


def decoder(variant: str, positions: bool | float, kernel: int) -> Decoder:
    def factory(name):
        return lambda **geometry: build_attention(VARIANTS.load(name), {}, **geometry)

    width = Width(dim=12, heads=3, layers=3, hybrid=1, short_convolution=kernel)
    config = DecoderConfig(width, VOCABULARY, length=LENGTH, positions=positions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Decoder(config, Slots(Pattern.CS, factory(variant), factory("softmax")))
    return model.double().eval()


@pytest.mark.parametrize("positions", [True, False, 0.3])
@pytest.mark.parametrize("kernel", [0, 4])
@pytest.mark.parametrize("variant", STEPPING)
def test_stepping_gives_the_logits_of_the_whole_sequence(variant, kernel, positions):
    model = decoder(variant, positions, kernel)
    tokens = torch.randint(VOCABULARY, (2, LENGTH), generator=generator("stepping"))
    expected, state = model(tokens), start(model, 2)
    for place in range(LENGTH):
        logits, state = step(model, tokens[:, place], state)
        torch.testing.assert_close(logits, expected[:, place], rtol=1e-9, atol=1e-9)


def test_a_state_is_not_changed_by_the_step_from_it():
    model = decoder("linear", False, 3)
    tokens = torch.randint(VOCABULARY, (2, 3), generator=generator("twice"))
    state = start(model, 2)
    for column in tokens.T[:2]:
        _, state = step(model, column, state)
    first, _ = step(model, tokens[:, 2], state)
    again, _ = step(model, tokens[:, 2], state)
    assert torch.equal(first, again)


class Shifted(MultiHeadAttention):
    """A mixer without a state: each token takes the one before it."""

    card = VARIANTS.card("mean")

    def attend(self, q, k, v, *, key_padding_mask=None):
        return torch.nn.functional.pad(v, (0, 0, 1, 0))[:, :, :-1]


def test_what_does_not_decode_is_refused():
    def factory(**geometry):
        return Shifted(None, **geometry)

    config = DecoderConfig(Width(dim=12, heads=3, layers=1), VOCABULARY, length=LENGTH)
    model = Decoder(config, Slots(Pattern.CS, factory, factory))
    assert not can_step(model)
    assert not can_step(torch.nn.Linear(1, 1))
    assert can_step(decoder("linear", False, 0))
    with pytest.raises(Unsupported, match="token by token"):
        start(model, 1)


def test_a_place_has_the_vector_that_the_sequence_has_there():
    x = draw(2, LENGTH, 12)
    for positions in (True, 0.3):
        layer = decoder("mean", positions, 0).positions
        assert torch.equal(layer.at(x[:, 17], 17), layer(x)[:, 17])
