"""What a variant raises under a law is explained: where, with what sizes, and what would help."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from support import VARIANTS

from cab.attention import Attention, MultiHeadAttention, read_source
from cab.conformance.check import LAWS, hold
from cab.conformance.subject import LAYERS, Subject
from cab.errors import Unsupported, UnsupportedWidth
from cab.registry import register_variant
from cab.running.worker import classify
from cab.taxonomy import Pattern

NAMED = {law.name: law for law in LAWS}
toy = partial(
    register_variant,
    family="softmax",
    patterns="ns cs",
    summary="for a test",
    time="N^2 d",
    memory="N^2",
)
HELP = "raise UnsupportedWidth (from cab.errors) in __init__ for unsupported head widths"


def finding(attention, law="numerics", pattern=Pattern.NS):
    """The only finding of a law on a toy."""
    subject = Subject(attention, pattern, reference=VARIANTS.load("softmax"))
    (found,) = hold(subject, NAMED[law]).findings
    return found.message


class Softmax(MultiHeadAttention):
    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool)
        if self.pattern.causal:
            hidden = torch.ones_like(hidden).triu(1)
        if key_padding_mask is not None:
            hidden = hidden | key_padding_mask[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return weights.masked_fill(hidden, 0.0) @ v


class Turned(Softmax):
    """Mixes the halves of the queries, as rotary positions do."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        first, second = q.chunk(2, dim=-1)
        q = torch.cat((first + second, first - second), dim=-1)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)


@toy(name="turned")
class CrashesInForward(Turned):
    pass


@toy(name="turned-asserts")
class CrashesInConstructor(Turned):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        if self.head_width % 2:
            raise AssertionError("dim_head must be even")


@toy(name="turned-refuses")
class Refuses(Turned):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        if self.head_width % 2:
            raise UnsupportedWidth(f"Halves are mixed, and head width {self.head_width} is odd.")


@toy(name="turned-refuses-otherwise")
class RefusesOtherwise(Turned):
    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        if self.head_width != 8:
            raise ValueError("head width 8 is the only one")


@toy(name="always")
class AlwaysCrashes(Softmax):
    def attend(self, q, k, v, *, key_padding_mask=None):
        return json.loads("{")


@toy(name="turned-float")
class AlsoInBfloat16(Turned):
    def attend(self, q, k, v, *, key_padding_mask=None):
        if q.dtype == torch.bfloat16:
            raise RuntimeError("no kernel for bfloat16.")
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)


class RaisesBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no way back")


@toy(name="one-way")
class OneWay(Softmax):
    def attend(self, q, k, v, *, key_padding_mask=None):
        return RaisesBackwards.apply(super().attend(q, k, v, key_padding_mask=key_padding_mask))


def test_a_crash_on_narrow_heads_says_that_wider_ones_work_and_what_to_do():
    message = finding(CrashesInForward)
    assert message.startswith("It raised RuntimeError: The size of tensor a (3) must match ")
    assert f"({__file__}, line " in message
    sizes = (
        "It fails with 3 heads of width 5, length 130, float64 and works with 4 heads of width 16"
    )
    assert message.endswith(f"). {sizes}: {HELP}")


def test_an_assertion_in_the_constructor_is_explained_too():
    message = finding(CrashesInConstructor)
    assert message.startswith("It raised AssertionError: dim_head must be even (")
    assert message.endswith(
        f". It fails with 3 heads of width 5 and works with 4 heads of width 16: {HELP}"
    )


@pytest.mark.parametrize(
    ("attention", "geometry"), [(Refuses, (3, 6)), (RefusesOtherwise, (3, 8))]
)
def test_a_width_refused_in_the_constructor_is_skipped(attention, geometry):
    assert Subject(attention, Pattern.NS).geometry == geometry
    for law in ("numerics", "padding"):
        assert hold(Subject(attention, Pattern.NS), NAMED[law]).holds


def test_a_refused_width_is_an_unsupported_cell_and_a_value_error():
    refused = UnsupportedWidth("Head width 5 is odd.")
    assert isinstance(refused, ValueError)
    assert isinstance(refused, Unsupported)
    assert classify(refused, 8.0) == ("unsupported", "Head width 5 is odd.")


def test_a_crash_at_every_width_names_both_and_the_line_of_the_variant():
    message = finding(AlwaysCrashes)
    assert message.startswith("It raised JSONDecodeError: Expecting property name ")
    line = 1 + Path(__file__).read_text().split("\n").index('        return json.loads("{")')
    assert message.endswith(
        f" ({__file__}, line {line}), with 3 heads of width 5, length 130, float64, "
        f"and with 4 heads of width 16"
    )


def test_another_crash_with_wider_heads_is_told_too():
    message = finding(AlsoInBfloat16)
    assert "with 3 heads of width 5, length 130, float64. With 4 heads of width 16 " in message
    assert " it gets further and raised RuntimeError: no kernel for bfloat16 (" in message
    assert HELP not in message


def test_a_crash_at_wide_heads_is_not_tried_again():
    subject = Subject(AlwaysCrashes, Pattern.NS, geometries=((2, 32),))
    (found,) = hold(subject, NAMED["numerics"]).findings
    assert found.message.endswith("), with 2 heads of width 32, length 130, float64")


def test_a_crash_in_the_backward_pass_has_the_sizes_of_the_subject():
    message = finding(OneWay, "gradients")
    assert message.startswith("It raised RuntimeError: no way back (")
    assert message.endswith("), with 3 heads of width 5, and with 4 heads of width 16")


@toy(name="looks-ahead-at-the-end")
class LeaksInTheLastLayer(Softmax):
    def attend(self, q, k, v, *, key_padding_mask=None):
        out = super().attend(q, k, v, key_padding_mask=key_padding_mask)
        return out + v.mean(dim=2, keepdim=True) if self.layer == self.layers - 1 else out


@toy(name="scaled-by-depth")
class ScaledByDepth(Softmax):
    def attend(self, q, k, v, *, key_padding_mask=None):
        scale = 1 - self.layer / (2 * self.layers)
        return scale * super().attend(q, k, v, key_padding_mask=key_padding_mask)


def test_a_variant_that_depends_on_its_layer_is_held_in_the_first_and_the_last_too():
    verdict = hold(Subject(LeaksInTheLastLayer, Pattern.CS), NAMED["causality"])
    assert verdict.findings
    assert all(f.message.startswith(f"As layer 2 of {LAYERS}: ") for f in verdict.findings)
    subject = Subject(ScaledByDepth, Pattern.CS)
    assert [one.layer for one in subject.placed] == [1, 0, 2]
    assert hold(subject, NAMED["causality"]).holds
    assert [one.layer for one in Subject(VARIANTS.load("softmax"), Pattern.CS).placed] == [1]


@toy(name="misnames")
class Misnames(Softmax):
    def no_weight_decay(self):
        return {"query.weight", "decays"}


@toy(name="says-one")
class SaysOneName(Softmax):
    def no_weight_decay(self):
        return "query.weight"


@toy(name="step-fails")
class StepFails(Softmax):
    def after_step(self):
        self.query.weight.add_(self.centroids)


NAMES = (
    "but must return a set of parameter names. They are query.weight, key.weight, "
    "value.weight, output.weight"
)


def test_what_training_calls_is_held_by_a_law():
    assert finding(Misnames, "composition") == (
        f"misnames: no_weight_decay() returns 'decays', {NAMES}"
    )
    assert finding(SaysOneName, "composition") == (
        f"says-one: no_weight_decay() returns 'query.weight', {NAMES}"
    )
    message = finding(StepFails, "composition")
    assert message.startswith("It raised AttributeError: 'StepFails' object has no attribute ")


@toy(name="bare")
class Bare(Attention):
    def forward(self, x, context=None, *, key_padding_mask=None):
        return read_source(self.pattern, x, context, key_padding_mask)[0]


def test_without_a_place_an_attention_is_the_only_one_of_its_kind():
    built = Bare(dim=4, heads=2, pattern=Pattern.NS, max_length=3)
    assert (built.layer, built.layers) == (0, 1)
    placed = Bare(dim=4, heads=2, pattern=Pattern.NS, max_length=3, layer=2, layers=5)
    assert (placed.layer, placed.layers) == (2, 5)
    for layer in (-1, 5):
        with pytest.raises(
            ValueError, match=rf"^layer = {layer} is not one of 0 to layers - 1 = 4"
        ):
            Bare(dim=4, heads=2, pattern=Pattern.NS, max_length=3, layer=layer, layers=5)
