"""What cannot be done is refused in a sentence; nothing falls back silently."""

from dataclasses import dataclass, make_dataclass

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import CONTEXT, DIM, PAIRS, VARIANTS, build, draw

from cab.attention import Attention, build_attention
from cab.errors import CabError, UnknownName, Unsupported, UnsupportedWidth
from cab.registry import register_variant
from cab.settings import parse_settings, split_assignments
from cab.taxonomy import Pattern, parse_patterns

pairs = pytest.mark.parametrize(("name", "pattern"), PAIRS)
REFUSED = [
    (card.name, pattern)
    for card in VARIANTS.cards()
    for pattern in Pattern
    if pattern not in card.patterns
]


@pytest.mark.parametrize(("name", "pattern"), REFUSED)
def test_a_pattern_that_the_card_lacks_is_refused_naming_those_it_has(name, pattern):
    with pytest.raises(Unsupported) as refusal:
        build(name, pattern)
    message = str(refusal.value)
    offered = ", ".join(VARIANTS.card(name).patterns)
    assert f"{name} does not support pattern {pattern} ({pattern.words})" in message
    assert message.endswith(f"), only {offered}.")


def test_some_variant_refuses_some_pattern_so_that_the_refusal_is_tested():
    assert ("window", Pattern.NC) in REFUSED


@pairs
def test_heads_must_divide_the_width(name, pattern):
    with pytest.raises(ValueError, match=r"^dim = 15 is not divisible by heads = 4\.$"):
        build(name, pattern, dim=15, heads=4)


def built(name, pattern):
    """A variant with heads of width 5, or of width 10 if it takes no odd one."""
    try:
        return build(name, pattern)
    except UnsupportedWidth:
        return build(name, pattern, dim=2 * DIM)


@pairs
def test_a_context_is_asked_for_exactly_in_the_cross_patterns(name, pattern):
    attention = built(name, pattern)
    wrong = None if pattern.cross else draw(2, CONTEXT, attention.dim)
    said = "needs a context" if pattern.cross else "takes no context"
    with pytest.raises(ValueError, match=rf"^Pattern {pattern} \(.+\) {said}\.$"):
        attention(draw(2, 7, attention.dim), wrong)


@pairs
def test_wrong_shapes_do_not_pass_in_tests(name, pattern):
    attention = built(name, pattern)
    context = draw(2, CONTEXT, attention.dim) if pattern.cross else None
    mask = torch.zeros(3, 7, dtype=torch.bool)
    with pytest.raises(jaxtyping.TypeCheckError, match="key_padding_mask"):
        attention(draw(2, 7, attention.dim), context, key_padding_mask=mask)


def test_a_grid_is_asked_for_where_the_card_needs_one():
    @register_variant(
        name="pictures", family="sparse", patterns="ns", summary="for this test", needs_grid=True
    )
    class Pictures(Attention):
        pass

    geometry = {"dim": 4, "heads": 2, "pattern": Pattern.NS, "max_length": 6}
    with pytest.raises(Unsupported, match=r"needs a picture: pass grid=\(height, width\)"):
        build_attention(Pictures, {}, **geometry)
    assert build_attention(Pictures, {}, **geometry, grid=(2, 3)).grid == (2, 3)


def test_more_keys_than_a_fixed_length_takes_are_refused():
    geometry = {"dim": 4, "heads": 2, "max_length": 6}
    linformer = VARIANTS.load("linformer")
    own = linformer(**geometry, pattern=Pattern.NS).double()
    assert own(draw(1, 6, 4)).shape == (1, 6, 4)
    with pytest.raises(Unsupported, match=r"at most 6 tokens \(max_length\) and got 7\."):
        own(draw(1, 7, 4))
    cross = VARIANTS.load("probsparse")(**geometry, pattern=Pattern.NC).double()
    assert cross(draw(1, 9, 4), draw(1, 6, 4)).shape == (1, 9, 4)
    with pytest.raises(Unsupported, match="got 7"):
        cross(draw(1, 5, 4), draw(1, 7, 4))


def test_the_training_length_is_the_longest_one_unless_it_is_said():
    geometry = {"dim": 4, "heads": 2, "pattern": Pattern.CS, "max_length": 8}
    softmax = VARIANTS.load("softmax")
    assert softmax(**geometry).train_length == 8
    assert softmax(**geometry, train_length=2).train_length == 2
    for wrong in (0, 9):
        with pytest.raises(ValueError, match=rf"train_length = {wrong} is not one of 1 to .*8\."):
            softmax(**geometry, train_length=wrong)


def test_a_variant_without_step_says_that_it_does_not_decode():
    @register_variant(name="whole", family="linear", patterns="cs", summary="for this test")
    class Whole(Attention):
        pass

    whole = Whole(dim=4, heads=2, pattern=Pattern.CS, max_length=6)
    assert not whole.decodes
    for ask in (lambda: whole.initial_state(1), lambda: whole.step(draw(1, 4), ())):
        with pytest.raises(Unsupported, match="whole cannot decode"):
            ask()


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match=r"setting of variant window.*'windw'.*mean window\?"):
        build("window", "ns", windw=3)
    with pytest.raises(UnknownName, match=r"Did you mean (key|query)_chunk or (key|query)_chunk"):
        build("chunked", "ns", chunk=3)


def test_a_variant_without_settings_says_so():
    with pytest.raises(CabError, match=r"variant softmax has no settings; remove 'window'\."):
        build("softmax", "ns", window=3)


@pytest.mark.parametrize("value", ["wide", "", "3.5", 3.5, None, [3]])
def test_a_setting_of_the_wrong_type_is_refused_with_its_name(value):
    with pytest.raises(CabError, match=r"Invalid settings of variant window: window: "):
        build("window", "ns", window=value)


@pytest.mark.parametrize(
    ("name", "options"),
    [("window", {"window": 0}), ("linear", {"chunk": -1}), ("chunked", {"key_chunk": 0})],
)
def test_a_setting_out_of_range_is_refused_with_its_range(name, options):
    with pytest.raises(CabError, match=r"must be at least 1"):
        build(name, "ns", **options)


def test_texts_from_the_command_line_become_numbers():
    assert build("window", "cs", window="8").config.window == 8


@dataclass(frozen=True)
class Knobs:
    """Settings of all plain kinds."""

    steps: int = 1
    rate: float = 0.5
    name: str = "none"
    causal: bool = False


@settings(max_examples=30)
@given(st.builds(Knobs, name=st.text(), rate=st.floats(allow_nan=False)))
def test_settings_survive_being_written_as_text(knobs):
    texts = {key: str(value) for key, value in vars(knobs).items()}
    assert parse_settings(Knobs, texts, "these") == knobs


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(CabError, match=r"steps: .*; rate: "):
        parse_settings(Knobs, {"steps": "many", "rate": "fast"}, "these")


words = st.text(st.characters(exclude_characters="=", exclude_categories=["Cs"]))


@given(st.dictionaries(words.map(str.strip).filter(bool), words.map(str.strip)))
def test_assignments_are_read_back_as_written(pairs):
    assert split_assignments([f"{key}={value}" for key, value in pairs.items()]) == pairs


@given(words)
def test_an_assignment_without_a_key_or_a_sign_is_refused(text):
    for assignment in (text, f"={text}", f" ={text}"):
        with pytest.raises(CabError, match="is not of the form KEY=VALUE"):
            split_assignments([assignment])


@given(st.lists(st.sampled_from(Pattern)))
def test_patterns_are_read_in_the_order_of_the_taxonomy(patterns):
    read = parse_patterns(" ".join(patterns))
    assert set(read) == set(patterns)
    assert list(read) == [pattern for pattern in Pattern if pattern in read]


@pytest.mark.parametrize("name", ["rows", "N", "t"])
def test_a_field_of_config_with_the_name_of_a_symbol_is_refused(name):
    config = make_dataclass("Config", [(name, int, 3)], frozen=True)
    decorate = register_variant(
        name="mine", family="linear", patterns="cs", summary="for this test"
    )
    with pytest.raises(ValueError, match=f"^mine: the formulas of cards use {name} for something"):
        decorate(type("Mine", (Attention,), {"Config": config}))
