"""Every registered variant keeps every law in every pattern that its card declares."""

import pytest
from support import VARIANTS

from cab.conformance.check import LAWS, check, subjects

# The usual tests take one pattern of each, CI all of them: together a quarter of an hour.
PAIRS = [
    pytest.param(card.name, pattern, marks=[pytest.mark.slow] if place else [])
    for card in VARIANTS.cards()
    for place, pattern in enumerate(card.patterns)
]


@pytest.mark.parametrize(("name", "pattern"), PAIRS)
def test_a_registered_variant_keeps_every_law(name, pattern):
    verdicts = check(subjects(VARIANTS, name, [pattern], options={}), LAWS)
    broken = [f"{one.law}: {finding}" for one in verdicts for finding in one.findings[:2]]
    assert not broken, "\n".join(broken)


def test_cards_repeat_nothing_and_name_their_source():
    summaries = {}
    for card in VARIANTS.cards():
        if card.role == "entry":
            assert card.paper, card.name
            assert card.year, card.name
        summaries.setdefault(card.summary, card.name)
        assert summaries[card.summary] == card.name, card.name
