"""The calls of flash-linear-attention fit its functions, as far as that shows without a GPU."""

import dataclasses
import importlib
import inspect

import pytest
import torch

from cab.kernels.linear.api import OPERATOR as LINEAR
from cab.kernels.operator import CannotRun, Case
from cab.measure.operators import operators

CASE = Case(2, 3, 3, 37, 37, 5, 7, causal=True)
CALLS = {
    "linear": ("linear_attn", "chunk_linear_attn", "naive_recurrent_linear_attn"),
    "scalar_decay": ("simple_gla", "chunk_simple_gla", "naive_recurrent_simple_gla"),
    "vector_decay": ("gla", "chunk_gla", "naive_recurrent_gla"),
    "delta_rule": (
        "gated_delta_rule",
        "chunk_gated_delta_rule",
        "naive_recurrent_gated_delta_rule",
    ),
}
"""By operator: the module, its kernel, and its own definition of what that computes."""
RENAMED = {"vector_decay": {"g": "gk"}}


def test_every_operator_with_the_implementation_is_looked_at_here():
    assert CALLS.keys() == {
        name for name, one in operators().items() if "fla" in one.implementations
    }


def called(operator, monkeypatch, stand_in):
    """Run the implementation with another function in the place of the kernel."""
    module, function, _ = CALLS[operator]
    monkeypatch.setattr(importlib.import_module(f"fla.ops.{module}"), function, stand_in)
    known = operators()[operator]
    inputs = known.draw(CASE, torch.Generator().manual_seed(1))
    return inputs, known.implementations["fla"].prepare(CASE)(**inputs)


@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.parametrize("operator", CALLS)
def test_the_functions_take_what_they_are_given(operator, monkeypatch):
    pytest.importorskip("fla.ops.gla")
    module, function, _ = CALLS[operator]
    signature = inspect.signature(getattr(importlib.import_module(f"fla.ops.{module}"), function))
    given = {}

    def note(**named):
        given.update(named)
        return named["v"], None

    called(operator, monkeypatch, note)
    signature.bind(**given)
    # Some take any further name in silence; those given must be names that they have.
    named = {n for n, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert given.keys() <= named
    for x in given.values():
        if isinstance(x, torch.Tensor):
            assert x.shape[:3] == (2, 37, 3)
            assert x.is_contiguous(), "or a copy would be timed with the kernel"


@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.parametrize("operator", CALLS)
def test_its_own_definition_called_alike_equals_the_oracle(operator, monkeypatch):
    pytest.importorskip("fla.ops.gla")
    module, _, definition = CALLS[operator]
    naive = getattr(importlib.import_module(f"fla.ops.{module}.naive"), definition)
    takes = inspect.signature(naive).parameters

    def stand_in(scale, **named):
        named = {RENAMED.get(operator, {}).get(n, n): x for n, x in named.items()}
        if "scale" in takes:
            return naive(**named, scale=scale)
        named["q"] = named["q"] * named["q"].shape[-1] ** 0.5 * scale  # it divides by sqrt(K)
        return naive(**named)

    inputs, out = called(operator, monkeypatch, stand_in)
    expected = operators()[operator].oracle(inputs, CASE, torch.arange(37))
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "run on CUDA, not on cpu"),
        ({"device": "cuda", "causal": False}, "causal kernels only"),
        ({"device": "cuda", "width": 300}, "take heads of width 256 at most, not 300"),
        ({"device": "cuda", "dtype": torch.float64}, "no kernel for torch.float64"),
    ],
)
def test_what_it_cannot_run_is_refused_in_a_sentence(changes, says, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(CannotRun, match=says):
        LINEAR.choose("fla", dataclasses.replace(CASE, **changes))


def test_where_it_is_not_installed_that_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CannotRun, match="install the extra `fla`"):
        LINEAR.choose("fla", dataclasses.replace(CASE, device="cuda"))
