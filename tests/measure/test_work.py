"""Counted work against brute force: masks pair by pair, recurrences product by product."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measure_support import point
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cab.kernels.operator import Case
from cab.kernels.softmax.masks import visible, visible_pairs
from cab.measure.built import BuiltVariant
from cab.measure.flops import MULTIPLIERS, of_pass, variant_work
from cab.measure.operators import get_operator
from cab.measure.points import PASSES, MechanismName


def case(queries, keys, **changes):
    sizes = {"batch": 2, "heads": 6, "key_heads": 3, "width": 7, "value_width": 5, **changes}
    return Case(queries=queries, keys=keys, **sizes)


def sees(i, j, one):
    """The definition, for one pair."""
    position = i + (one.keys - one.queries if one.alignment == "bottom_right" else 0)
    if one.causal and j > position:
        return False
    return not one.window or abs(position - j) < one.window


@given(
    queries=st.integers(1, 23),
    keys=st.integers(1, 23),
    causal=st.booleans(),
    alignment=st.sampled_from(["top_left", "bottom_right"]),
    window=st.integers(0, 9),
)
def test_visible_pairs_equal_a_count_pair_by_pair(queries, keys, causal, alignment, window):
    one = case(queries, keys, causal=causal, alignment=alignment, window=window)
    expected = sum(sees(i, j, one) for i in range(queries) for j in range(keys))
    assert visible_pairs(one) == expected
    assert int(visible(one, torch.arange(queries)).sum()) == expected


@pytest.mark.parametrize(
    ("queries", "keys", "alignment", "pairs"),
    [
        (100, 333, "bottom_right", 28_350),
        (100, 333, "top_left", 5_050),
        (333, 100, "bottom_right", 5_050),
        (333, 100, "top_left", 28_350),
    ],
)
def test_rectangles_differ_by_their_alignment(queries, keys, alignment, pairs):
    one = case(queries, keys, causal=True, alignment=alignment)
    assert visible_pairs(one) == pairs
    work = get_operator("softmax").work(one)
    assert work.flops == 2 * 6 * pairs * 2 * (7 + 5)
    assert work.exponentials == 2 * 6 * pairs


def test_linear_work_is_that_of_the_recurrence_product_by_product():
    one = case(11, 11, key_heads=6, causal=True)
    products = 0
    for _ in range(one.batch * one.heads):
        for _ in range(one.queries):
            products += one.width * one.value_width  # the outer product, added to the state
            products += one.width * one.value_width  # the query reads the state
    assert get_operator("linear").work(one).flops == 2 * products


def test_decays_and_deletions_add_their_products():
    one = case(11, 11, key_heads=6, causal=True)
    state = one.batch * one.heads * one.queries * one.width * one.value_width
    for name in ("scalar_decay", "vector_decay"):  # one product per entry decays it
        assert get_operator(name).work(one).flops == 4 * state + state
    assert get_operator("delta_rule").work(one).flops == 4 * state + state + 2 * state


@pytest.mark.parametrize("pattern", ["ns", "nc", "cs", "cc"])
def test_the_formula_of_exact_variants_is_what_runs_less_what_is_masked(pattern):
    at = point(pattern=pattern, length=24, keys=17 if pattern in ("nc", "cc") else 0)
    mechanism = BuiltVariant(MechanismName("softmax"), at)
    inputs = mechanism.draw(0)
    with torch.no_grad(), FlopCounterMode(display=False) as ran, sdpa_kernel(SDPBackend.MATH):
        mechanism.forward(inputs)
    hidden = 24 * 23 // 2 if pattern == "cs" else 0
    masked = 2 * 3 * hidden * 4 * 8
    work = variant_work(mechanism.module, at, inputs)
    assert work.flops == ran.get_total_flops() - masked
    assert work.by == "formula"


def test_other_variants_are_counted_as_they_run():
    mechanism = BuiltVariant(MechanismName("linear"), point(length=64))
    work = mechanism.work()
    assert work.by == "count"
    # The four projections, and some products of keys with values.
    assert work.flops > 2 * 4 * 2 * 64 * 24**2


def test_a_pass_scales_work_by_its_named_multiplier():
    assert set(MULTIPLIERS) == set(PASSES)
    work = BuiltVariant(MechanismName("softmax"), point()).work()
    scaled = of_pass(work, "fwd_bwd")
    assert scaled["flops"] == 3 * work.flops
    assert scaled["multiplier"] == 3.0
    assert of_pass(work, "bwd")["exponentials"] == 0
