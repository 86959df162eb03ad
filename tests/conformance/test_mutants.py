"""Every law can fail: each planted fault is caught by the law that names it."""

import ast
from pathlib import Path

import pytest
from cli_support import cab_here

from cab.conformance import (
    afterwards,
    curvature,
    decoding,
    edges,
    layouts,
    removal,
    sequences,
    training,
)
from cab.conformance.check import LAWS, check, hold, subjects
from cab.registry import discover_variants

MUTANTS = {
    path.stem.replace("_", "-"): path
    for path in sorted((Path(__file__).parent / "mutants").glob("*.py"))
}
BY_NAME = {law.name: law for law in LAWS}
CRASHING = ("no-autocast", "short-path-in-float32")
"""Mutants whose fault is that they raise."""


def broken_by(path: Path) -> str:
    """The law that a mutant's file names in BREAKS."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "BREAKS":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} names no law")


@pytest.mark.parametrize("name", MUTANTS)
def test_the_law_that_a_mutant_breaks_catches_it_in_every_pattern(name):
    path = MUTANTS[name]
    variants = discover_variants((path,))
    for subject in subjects(variants, name, variants.card(name).patterns, options={}):
        verdict = hold(subject, BY_NAME[broken_by(path)])
        assert verdict is not None
        assert not verdict.holds, subject.pattern
        # A variant that merely crashes would prove nothing of the law.
        assert name in CRASHING or "It raised" not in verdict.findings[0].message


def test_every_law_has_mutants():
    caught = [broken_by(path) for path in MUTANTS.values()]
    assert set(caught) == set(BY_NAME)
    assert caught.count("causality") >= 10


ONLY_CAUGHT_BY = {
    "causality": "pooled-queries",
    "liveness": "past-only",
    "padding": "mean-over-padded-length",
    "gradients": "detached-values",
    "determinism": "unsaved-projection",
    "numerics": "wrong-scale",
    "decoding": "stale-state",
    "cost": "cubic",
    "budget": "oversized",
    "composition": "short-path-in-float32",
}


PARTS = {
    "step-sums-in-float16": (sequences, "_half"),
    "cache-of-1500": (sequences, "_long"),
    "context-kept-in-module": (sequences, "_interleaved"),
    "long-prefill-forgets": (decoding, "_in_parts"),
    "step-writes-into-its-state": (decoding, "_pure"),
    "state-by-number": (decoding, "_elsewhere"),
    "empty-batch-fails": (edges, "run_empty"),
    "turns-beyond-max-length": (edges, "run_beyond"),
    "overflows-beyond-2000": (edges, "run_long"),
    "padding-fades-between": (removal, "run"),
    "writes-into-its-mask": (afterwards, "_given"),
    "keeps-its-last-output": (afterwards, "_copied"),
    "worn-by-changing-modes": (training, "run_modes"),
    "takes-inputs-for-contiguous": (layouts, "run"),
    "moves-twice-under-checkpoint": (training, "run"),
    "second-derivative-cut-off": (curvature, "run"),
}
"""Mutants, and the part of the law without which it would miss them."""


@pytest.mark.parametrize("name", PARTS)
def test_without_a_part_of_a_law_a_mutant_gets_through_it(name, monkeypatch):
    monkeypatch.setattr(*PARTS[name], lambda *arguments: iter(()))
    variants = discover_variants((MUTANTS[name],))
    for subject in subjects(variants, name, variants.card(name).patterns, options={}):
        verdict = hold(subject, BY_NAME[broken_by(MUTANTS[name])])
        assert verdict is not None
        assert verdict.holds, verdict.findings


@pytest.mark.slow
@pytest.mark.parametrize("law", BY_NAME)
def test_without_a_law_one_of_its_mutants_gets_through(law):
    name = ONLY_CAUGHT_BY[law]
    variants = discover_variants((MUTANTS[name],))
    others = [other for other in LAWS if other.name != law]
    held = subjects(variants, name, variants.card(name).patterns, options={})
    assert all(verdict.holds for verdict in check(held, others))
    assert not all(verdict.holds for verdict in check(held, [BY_NAME[law]]))


@pytest.mark.parametrize("name", ["leak-of-one-token", "rows-meet", "state-formula-off"])
def test_cab_check_exits_with_1_on_a_mutant_and_names_the_law(name):
    said = cab_here("check", name, "--include", MUTANTS[name])
    assert said.code == 1
    assert f"{broken_by(MUTANTS[name])}, " in said.out
    assert "FAILS" in said.out
