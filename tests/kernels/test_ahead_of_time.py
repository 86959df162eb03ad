"""Every kernel compiles for GPUs that are not here, within its budget of registers and spills.

After a change that is meant to cost more: `python tests/kernels/ahead_of_time.py write`.
"""

import json
import os
import subprocess
import sys

import ahead_of_time
import pytest

SHARED = {80: 166_912, 90: 232_448, 100: 232_448}
"""Bytes of shared memory that a block of threads can have (CUDA programming guide, table of
technical specifications per compute capability)."""

WITHOUT_PRODUCTS = (
    "softmax_delta_kernel",
    "sums_within_chunks_kernel",
    "decay_gradient_kernel",
    "inverse_kernel",
)
BY_WARP = ("decayed_scores_kernel", "within_gradient_kernel")
"""Kernels whose products have 16 rows; a warp group takes 64."""
LIGHT = 128
"""Bytes that a thread may spill: a few registers, not the tiles themselves."""


def compiled(target, width, dtype="bfloat16", only=()):
    """Measure in a process where no kernel is interpreted."""
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    told = subprocess.run(
        [sys.executable, ahead_of_time.__file__, str(target), str(width), dtype, *only],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout)


def hold(target, width, *cases):
    costs = compiled(target, width, only=[",".join(cases)] if cases else [])
    budgets = json.loads(ahead_of_time.BUDGETS.read_text(encoding="utf-8"))
    budget = {
        n: b
        for n, b in budgets[f"sm_{target}"].items()
        if n.strip("'").endswith(f" {width}") and (not cases or n.split()[1] in cases)
    }
    assert costs.keys() == budget.keys()
    for name, cost in costs.items():
        assert cost["shared"] <= SHARED[target], name
        with_products = not name.startswith(WITHOUT_PRODUCTS)
        assert (cost["products"] > 0) == with_products, f"{name} and tensor cores"
        if target == 90 and with_products and not name.startswith(BY_WARP):
            assert cost["wgmma"], f"{name} does not multiply by warp groups"
        if budgets["triton"] == ahead_of_time.series():  # another compiler, other registers
            registers, spilled = budget[name]
            assert cost["registers"] <= registers, name
            assert cost["spilled"] <= spilled, name


def test_attention_keeps_its_budget_on_hopper():
    hold(90, 128, "causal", "linear", "picture")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "width"), [(t, w) for t in ahead_of_time.TARGETS for w in ahead_of_time.WIDTHS]
)
def test_every_kernel_keeps_its_budget(target, width):
    hold(target, width)


@pytest.mark.slow
@pytest.mark.parametrize("target", [80, 90, 100])
def test_float32_fits_into_shared_memory(target):
    for name, cost in compiled(target, 128, "float32").items():
        assert cost["shared"] <= SHARED[target], name


def test_the_budget_is_of_a_kernel_that_holds_data_in_registers():
    """A reader of binaries that finds nothing would let everything pass."""
    budgets = json.loads(ahead_of_time.BUDGETS.read_text(encoding="utf-8"))
    targets = [budgets[f"sm_{target}"] for target in ahead_of_time.TARGETS]
    registers = [budget[0] for target in targets for budget in target.values()]
    assert min(registers) > 16
    assert max(registers) <= 256


def test_no_budget_allows_tiles_that_do_not_fit_into_registers():
    budgets = json.loads(ahead_of_time.BUDGETS.read_text(encoding="utf-8"))
    heavy = {
        (target, name): budget[1]
        for target in ahead_of_time.TARGETS
        for name, budget in budgets[f"sm_{target}"].items()
        if budget[1] > LIGHT
    }
    assert not heavy
