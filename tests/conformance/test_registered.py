"""Every registered variant keeps every law in every pattern that its card declares."""

from dataclasses import replace

import pytest
from law_checks import broken_laws, large_tensors
from law_ledger import CHECKED, Ledger, Present
from support import VARIANTS

from cab.conformance.check import subjects
from cab.taxonomy import Pattern

SIMPLE = ("softmax", "sdpa", "chunked", "linear", "window", "none", "mean")

# What the ledger does not hold is checked: in the usual tests the first pattern of each variant
# and every pattern of the simple ones, in CI all.
PAIRS = [
    pytest.param(
        card.name, pattern, marks=[pytest.mark.slow] if place and card.name not in SIMPLE else []
    )
    for card in VARIANTS.cards()
    for place, pattern in enumerate(card.patterns)
]
PRESENT = Present(VARIANTS)
LEDGER = Ledger.trusted()


@pytest.mark.parametrize(("name", "pattern"), PAIRS)
def test_a_registered_variant_keeps_every_law(name, pattern, record_property):
    if LEDGER.holds(name, pattern, PRESENT):
        conditions = f"this source, these laws and PyTorch {PRESENT.conditions.torch}"
        pytest.skip(f"ledger.json: checked with {conditions}; LEDGER=off checks it again")
    broken = broken_laws(VARIANTS, name, pattern)
    assert not broken, "\n".join(broken)
    record_property(CHECKED, [name, pattern.value])


def test_cards_repeat_nothing_and_name_their_source():
    summaries = {}
    for card in VARIANTS.cards():
        if card.role == "entry":
            assert card.paper, card.name
            assert card.year, card.name
        summaries.setdefault(card.summary, card.name)
        assert summaries[card.summary] == card.name, card.name


def test_a_card_that_claims_less_memory_than_all_pairs_is_found_out(monkeypatch):
    (subject,) = subjects(VARIANTS, "relational", [Pattern.NS], options={})
    assert not large_tensors(subject)
    card = replace(subject.card, memory="N d")
    monkeypatch.setattr(subject.attention, "card", card)
    (finding,) = large_tensors(subject)
    assert "bytes at 8192 tokens, more than 134217728" in finding
