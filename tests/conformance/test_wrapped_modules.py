"""Modules as others write them, and what the laws say of them.

They have empty parameters, frozen constants, flags among their buffers, expanded parameters,
functions that pickle refuses, values drawn at the first call, and kernels of their own choice.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cab.attention import Attention, read_source
from cab.conformance import edges
from cab.conformance.check import LAWS, hold
from cab.conformance.subject import Subject
from cab.registry import register_variant
from cab.taxonomy import Pattern

BY_NAME = {law.name: law for law in LAWS}


def findings(attention, law):
    return [one.message for one in hold(Subject(attention, Pattern.NS), BY_NAME[law]).findings]


class _Mean(Attention):
    """The mean of all values that are not padding, through one projection."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.value = nn.Linear(self.dim, self.dim, bias=False)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        kept = torch.ones_like(x[..., :1])
        if key_padding_mask is not None:
            kept = kept.masked_fill(key_padding_mask[..., None], 0.0)
        mean = x.sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
        return self.mix(self.value(mean).expand_as(x), x)

    def mix(self, mean, x):
        return mean


@register_variant(name="with-nothing", family="softmax", patterns="ns", summary="", memory="N d")
class _WithNothing(_Mean):
    """One parameter has no elements, as memory keys of which none are asked for."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.memory = nn.Parameter(torch.zeros(self.heads, 0, self.dim))

    def mix(self, mean, x):
        return mean + self.memory.sum()


@register_variant(name="frozen", family="softmax", patterns="ns", summary="", memory="N d")
class _Frozen(_Mean):
    """A frozen parameter holds constants, of which a table is kept from the first call on."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        rates = torch.linspace(0.1, 1.0, self.dim)
        self.rates = nn.Parameter(rates, requires_grad=False)
        self.register_buffer("table", None, persistent=False)

    def mix(self, mean, x):
        if self.table is None or self.table.dtype != x.dtype:
            self.table = self.rates.to(x.dtype).cos()
        return mean * self.table


@register_variant(name="untold", family="softmax", patterns="ns", summary="", memory="N d")
class _Untold(_Mean):
    """Half of a gate's derivative is lost; its parameter has 20,000 numbers."""

    calls = 0

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.gate = nn.Parameter(torch.randn(20_000, self.dim) / 100)

    def mix(self, mean, x):
        type(self).calls += 1
        gate = self.gate.sum(dim=0)
        return mean * ((gate + gate.detach()) / 2)


@register_variant(name="twice", family="softmax", patterns="ns", summary="", memory="N d")
class _Twice(_Mean):
    """The second backward pass of a graph gives another gradient."""

    def mix(self, mean, x):
        return _Counting.apply(mean)


class _Counting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.passes = 0
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        ctx.passes += 1
        return slope * ctx.passes


@register_variant(name="flagged", family="softmax", patterns="ns", summary="", memory="N d")
class _Flagged(_Mean):
    """A Boolean buffer says whether something has begun."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.register_buffer("begun", torch.tensor(False))

    def after_step(self):
        self.begun.fill_(True)


@register_variant(name="expanded", family="softmax", patterns="ns", summary="", memory="N d")
class _Expanded(_Mean):
    """A gate per head, made of one by expand."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.gate = nn.Parameter(torch.ones(self.dim // self.heads).expand(self.heads, -1))

    def mix(self, mean, x):
        return mean * self.gate.flatten()


@register_variant(name="local-function", family="softmax", patterns="ns", summary="", memory="N d")
class _LocalFunction(_Mean):
    """It keeps a lambda."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.mix = lambda mean, x: mean


@register_variant(name="begins-late", family="softmax", patterns="ns", summary="", memory="N d")
class _BeginsLate(_Mean):
    """A gate is drawn at the first call."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.register_buffer("gate", torch.zeros(self.dim))

    def mix(self, mean, x):
        if not self.gate.any():
            self.gate.copy_(torch.randn(self.dim))
        return mean * self.gate


@register_variant(name="fused", family="softmax", patterns="ns", summary="", time="N^2 d")
class _Fused(_Mean):
    """It chooses the kernel of PyTorch's sdpa by itself."""

    def mix(self, mean, x):
        heads = [one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (x, x, mean)]
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2)


def test_a_buffer_may_be_boolean():
    assert findings(_Flagged, "composition") == []


def test_an_expanded_parameter_is_named_once_and_the_other_laws_judge_the_rest():
    (found,) = findings(_Expanded, "gradients")
    assert found.startswith("Elements of gate share memory, as in an expanded tensor, so no ")
    for law in ("liveness", "padding", "determinism", "composition"):
        assert findings(_Expanded, law) == []


def test_a_module_that_cannot_be_pickled_at_all_is_told_so_once():
    (found,) = findings(_LocalFunction, "determinism")
    assert found.startswith("The module cannot be copied and pickled, not even before a call (")
    assert "<lambda>" in found


def test_a_draw_at_the_first_call_is_not_taken_for_an_effect_of_max_length():
    with torch.random.fork_rng(devices=[]):
        assert list(edges.run_beyond(Subject(_BeginsLate, Pattern.NS))) == []
    said = findings(_BeginsLate, "determinism")
    assert any("construction or in a call" in one for one in said)
    assert "A call in evaluation changes gate in the state dict" in said


def test_the_products_of_a_kernel_that_the_module_chooses_are_counted():
    subject = Subject(_Fused, Pattern.NS)
    verdict = hold(subject, BY_NAME["cost"])
    assert verdict.measured["time exponent"].startswith("2.0"), verdict.measured
    assert not any("Counted time" in one.message for one in verdict.findings)


def test_a_parameter_without_elements_is_not_called_dead():
    assert findings(_WithNothing, "gradients") == []


def test_frozen_constants_are_left_as_they_are():
    assert findings(_Frozen, "determinism") == []


def test_a_wrong_derivative_of_a_large_parameter_is_found_in_few_forward_passes():
    _Untold.calls = 0
    (first, *_) = findings(_Untold, "gradients")
    assert "The derivative along a random direction of gate is" in first
    assert _Untold.calls < 100


def test_a_backward_pass_that_is_not_repeatable_is_found():
    assert "A second backward pass gives another gradient of x" in findings(_Twice, "gradients")[0]
