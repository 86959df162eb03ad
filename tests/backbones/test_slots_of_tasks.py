"""Every task, by counting: the variant under test fills the slots of the cell's pattern, no other.

The attention modules are counted in the finished network, not believed from the list of slots, and
each is counted again when it is called, with its streams.
"""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from support import VARIANTS

from cab.attention import Attention, build_attention
from cab.backbones.slots import Slots, Width
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.taxonomy import Pattern

TASKS = discover_tasks()
SETTINGS = [(name, profile) for name in TASKS.names() for profile in TASKS.load(name).recipes]
GENERATED = [
    (name, profile)
    for name, profile in SETTINGS
    if profile in ("smoke", "quick") and not TASKS.card(name).data
]


class Marked:
    """A factory of softmax attention that remembers what it made."""

    def __init__(self):
        self.made = []

    def __call__(self, **geometry):
        attention = build_attention(VARIANTS.load("softmax"), {}, **geometry)
        self.made.append(attention)
        return attention


def filled(name, profile, device="cpu"):
    """The network of a task and its slots."""
    task_class = TASKS.load(name)
    variant, reference = Marked(), Marked()
    slots = Slots(TASKS.card(name).pattern, variant, reference)
    with torch.device(device):
        model = task_class(task_class.recipes[profile], Path()).build(slots)
    return model, slots


def built(name, profile, device="cpu"):
    """The network of a task, and the modules of the variant under test and of the reference."""
    model, slots = filled(name, profile, device)
    return model, slots.variant.made, slots.reference.made


@pytest.mark.parametrize(("name", "profile"), SETTINGS)
def test_the_variant_under_test_fills_exactly_the_slots_of_the_pattern(name, profile):
    # Without memory, for the networks of `full` are large.
    model, tested, others = built(name, profile, device="meta")
    pattern = TASKS.card(name).pattern
    present = [module for module in model.modules() if isinstance(module, Attention)]
    of_pattern = {id(module) for module in present if module.pattern == pattern}
    assert of_pattern == {id(module) for module in tested}
    assert {id(module) for module in present} - of_pattern == {id(module) for module in others}
    assert len(present) == len(tested) + len(others)
    assert len(tested) >= TASKS.load(name).recipes[profile].model.width.layers


@pytest.mark.parametrize(("name", "profile"), SETTINGS)
def test_every_attention_knows_its_layer_and_how_many_there_are_of_its_kind(name, profile):
    model, slots = filled(name, profile, device="meta")
    kinds = {id(module): kind for kind, _, module in slots.filled}
    found = {}
    for module in model.modules():  # in the order of the network, not of the list of slots
        if isinstance(module, Attention):
            found.setdefault(kinds[id(module)], []).append((module.layer, module.layers))
    for kind, places in found.items():
        assert places == [(layer, len(places)) for layer in range(len(places))], kind


def test_the_slots_of_a_hybrid_are_counted_together():
    width = Width(dim=4, heads=2, layers=4, hybrid=1)
    slots = Slots(Pattern.CS, Marked(), Marked())
    for name in ("decoder_self", "cross") * 4:
        slots.fill(name, Pattern.CC if name == "cross" else Pattern.CS, width, 9)
    assert [(one.layer, one.layers) for one in slots.variant.made] == [(0, 4), (2, 4)]
    others = [(one.pattern, one.layer, one.layers) for one in slots.reference.made]
    assert [place for place in others if place[0] == Pattern.CS] == [("cs", 1, 4), ("cs", 3, 4)]
    assert [place[1] for place in others if place[0] == Pattern.CC] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"^layer = 4 is not one of 0 to layers - 1 = 3\.$"):
        slots.fill("cross", Pattern.CC, width, 9)


@pytest.mark.parametrize(("stretch", "expected"), [(1, 40), (4, 10), (64, 1)])
def test_slots_tell_the_length_of_training(stretch, expected):
    slots = Slots(Pattern.CS, Marked(), Marked(), stretch)
    slots.fill("decoder_self", Pattern.CS, Width(dim=4, heads=2, layers=1), 40)
    (made,) = slots.variant.made
    assert (made.max_length, made.train_length) == (40, expected)


@pytest.mark.parametrize(("name", "profile"), GENERATED)
def test_every_slot_is_called_once_per_pass_in_its_pattern(name, profile):
    model, tested, others = built(name, profile)
    calls = Counter()

    def note(module, args, kwargs):
        context = args[1] if len(args) > 1 else kwargs.get("context")
        assert module.pattern.cross == (context is not None)
        longest = max(part.shape[1] for part in (args[0], context) if part is not None)
        assert longest <= module.max_length
        if module.grid is not None:
            assert module.grid[0] * module.grid[1] == args[0].shape[1]
        calls[id(module)] += 1

    for module in tested + others:
        module.register_forward_pre_hook(note, with_kwargs=True)
    task_class = TASKS.load(name)
    task = task_class(task_class.recipes[profile])
    assert task.loss(model, task.draw("train", 3, generator("slots"))).isfinite()
    assert calls == Counter({id(module): 1 for module in tested + others})


def counts(name, profile):
    _, tested, others = built(name, profile, device="meta")
    return len(tested), dict(Counter(module.pattern for module in others))


@pytest.mark.parametrize(
    ("name", "tested", "others"),
    [
        # An encoder and a decoder of two layers each; all their attention is noncausal self.
        ("tts-fastspeech", 4, {}),
        ("tts-transformer-cs", 2, {Pattern.NS: 2, Pattern.CC: 2}),
        ("tts-transformer-cc", 2, {Pattern.NS: 2, Pattern.CS: 2}),
        ("tts-transformer-ns", 2, {Pattern.CS: 2, Pattern.CC: 2}),
        # Two encoder layers, two decoder layers with self and cross attention.
        ("point-completion", 2, {Pattern.NS: 4}),
        # At 8 x 8: one block on the way down, two on the way up, one in the middle.
        ("super-resolution", 4, {}),
        ("inpaint", 3, {}),
        ("mlm", 2, {}),
        ("audio-lm", 2, {}),
    ],
)
def test_the_slots_of_cab_s_backbones_are_as_many_as_counted_by_hand(name, tested, others):
    assert counts(name, "quick") == (tested, others)


def test_counting_sees_a_slot_in_the_wrong_hands():
    slots = Slots(Pattern.CS, Marked(), Marked())
    task_class = TASKS.load("tts-transformer-cs")
    model = task_class(task_class.recipes["smoke"]).build(slots)
    reference = partial(build_attention, VARIANTS.load("softmax"), {})
    wrong = reference(dim=16, heads=2, pattern=Pattern.CS, max_length=40)
    model.decoder[0].self_attention = wrong
    present = [module for module in model.modules() if isinstance(module, Attention)]
    of_pattern = {id(module) for module in present if module.pattern == Pattern.CS}
    assert of_pattern != {id(module) for module in slots.variant.made}
