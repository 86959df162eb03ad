"""Rotary positions of the decoder: the function of `rope`, token by token alike, or a refusal."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cli_support import cab_here
from support import VARIANTS, draw, relative_difference
from torch import nn

from cab.attention import Attention, build_attention
from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.layers import RotaryPositions
from cab.backbones.slots import Slots, Width
from cab.backbones.stepping import start, step
from cab.errors import CabError, Unsupported
from cab.kernels.linear.rotation import places, rotate
from cab.profiles import get_profile
from cab.registry import discover_tasks, discover_variants
from cab.running.cells import Cell, Request, plan
from cab.seeding import generator
from cab.taxonomy import Pattern

VOCABULARY, LENGTH, DIM, HEADS = 11, 19, 24, 3
SETTING = {"model.positions": "rotary"}


def attention(name: str, pattern: str = "cs") -> Attention:
    sizes: dict[str, Any] = {"dim": DIM, "heads": HEADS, "max_length": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = build_attention(VARIANTS.load(name), {}, pattern=Pattern(pattern), **sizes)
    return built.double().eval()


def takes_turns(name: str) -> bool:
    try:
        attention(name).turn_by(nn.Identity())
    except Unsupported:
        return False
    return True


CAUSAL = [card.name for card in VARIANTS.cards() if Pattern.CS in card.patterns]
TAKING = [name for name in CAUSAL if takes_turns(name)]


def decoder(name: str, positions: bool | float | str) -> Decoder:
    width = Width(dim=DIM, heads=HEADS, layers=2)
    config = DecoderConfig(width, VOCABULARY, length=LENGTH, positions=positions)  # type: ignore[arg-type]

    def factory(**geometry: Any) -> Attention:
        return build_attention(VARIANTS.load(name), {}, **geometry)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Decoder(config, Slots(Pattern.CS, factory, factory)).double().eval()


def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (2, LENGTH), generator=generator("rotary"))


@torch.no_grad()
def test_softmax_with_rotary_positions_is_rope_without_positions() -> None:
    turned, rope = decoder("softmax", "rotary"), decoder("rope", False)
    assert turned.state_dict().keys() == rope.state_dict().keys()
    expected = rope(tokens())
    assert relative_difference(turned(tokens()), expected) <= 1e-12
    assert relative_difference(decoder("softmax", False)(tokens()), expected) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_channels_are_turned_by_angles_of_the_position(width: int) -> None:
    q, k = draw(2, 3, 4, width, seed="q"), draw(2, 3, 9, width, seed="k")
    got_q, got_k = RotaryPositions()(q, k)
    half = width // 2
    for position in range(9):
        for channel in range(half):
            phase = torch.exp(torch.tensor(1j * position * 10_000.0 ** (-2 * channel / width)))
            for x, got, t in ((k, got_k, position), (q, got_q, position - 5)):
                if t >= 0:
                    pair = torch.complex(x[:, :, t, channel], x[:, :, t, channel + half]) * phase
                    found = torch.complex(got[:, :, t, channel], got[:, :, t, channel + half])
                    torch.testing.assert_close(found, pair.to(found.dtype), rtol=1e-6, atol=1e-6)
    if width % 2:
        assert torch.equal(got_k[..., -1], k[..., -1])
    else:
        assert relative_difference(got_k, rotate(k, places(k))) <= 1e-12


def test_who_keeps_all_keys_and_attends_in_the_common_way_takes_them() -> None:
    assert {"softmax", "chunked", "gated", "tempscale"} <= set(TAKING)
    assert not {"linear", "window", "mamba2", "none", "mla", "fox", "nsa"} & set(TAKING)


@torch.no_grad()
def test_a_decoder_answers_token_by_token_as_it_does_the_whole_sequence() -> None:
    model = decoder("gated", "rotary")
    expected, state = model(tokens()), start(model, 2)
    for place in range(LENGTH):
        logits, state = step(model, tokens()[:, place], state)
        torch.testing.assert_close(logits, expected[:, place], rtol=1e-9, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", TAKING)
def test_who_takes_them_answers_otherwise_and_decodes_alike(name: str) -> None:
    model, x = attention(name), draw(2, 7, DIM)
    before = model(x)
    model.turn_by(RotaryPositions())
    expected, state = model(x), model.initial_state(2)
    assert relative_difference(expected, before) > 1e-6
    first, state = model.prefill(x[:, :4], state)
    assert relative_difference(first, expected[:, :4]) <= 1e-9
    for place in range(4, 7):
        out, state = model.step(x[:, place], state)
        assert relative_difference(out, expected[:, place]) <= 1e-9


def test_between_a_stream_and_a_context_there_is_nothing_to_turn_by() -> None:
    for pattern in ("nc", "cc"):
        with pytest.raises(Unsupported, match="softmax does not take rotary positions"):
            attention("softmax", pattern).turn_by(nn.Identity())


def planned(variant: str, **options: str) -> Cell:
    request = Request(
        variants=[variant], profile=get_profile("smoke"), tasks=["mqar"], options=options
    )
    (cell,) = plan(request, discover_variants(), discover_tasks()).cells
    return cell


def test_a_run_asks_for_them_by_a_setting_of_the_model() -> None:
    plain, turned = planned("softmax"), planned("softmax", **SETTING)
    assert turned.changed == SETTING
    assert turned.recipe.model.positions == "rotary"
    assert turned.key != plain.key
    assert plain.changed == {}
    both = planned("softmax", **SETTING, **{"model.layers": "3"})
    assert both.changed == {**SETTING, "model.layers": 3}
    assert (both.recipe.model.width.layers, both.recipe.model.positions) == (3, "rotary")
    assert planned("softmax", **{"model.positions": "0.5"}).recipe.model.positions == 0.5
    assert planned("softmax", **{"model.positions": "false"}).recipe.model.positions is False


@pytest.mark.parametrize("name", ["linear", "window", "mamba2"])
def test_who_does_not_take_them_is_refused_before_it_runs(name: str) -> None:
    with pytest.raises(CabError, match=rf"^mqar with these settings: {name} does not take rotary"):
        planned(name, **SETTING)


def test_who_turns_queries_and_keys_itself_is_refused() -> None:
    with pytest.raises(CabError, match="rope turns its queries and keys itself"):
        planned("rope", **SETTING)


@pytest.mark.parametrize("value", ["rotray", "nan-1"])
def test_other_positions_are_refused(value: str) -> None:
    with pytest.raises(CabError, match=r"the backbone of mqar \(model\.\*\): positions"):
        planned("softmax", **{"model.positions": value})


def test_the_program_trains_with_them_and_refuses_with_a_sentence(tmp_path: Path) -> None:
    run = ("run", "--task", "mqar", "--profile", "smoke", "--unchecked", "--store", tmp_path)
    run += ("--set", "model.positions=rotary", "--variant")
    refused = cab_here(*run, "linear")
    assert refused.code == 2
    assert "linear does not take rotary positions" in " ".join(refused.err.split())
    assert "Traceback" not in refused.err
    done = cab_here(*run, "softmax")
    assert done.code == 0, done.err
    assert "model.positions=rotary" in done.out
