"""The list by which the board is measured names variants that exist, each once."""

from collections import Counter

from support import REPOSITORY, VARIANTS

from cab.commands.common.names import given_names

NAMES = given_names([f"@{REPOSITORY / 'results' / 'order.txt'}"])


def test_every_name_is_a_registered_variant_and_stands_once():
    registered = {card.name for card in VARIANTS.cards()}
    assert set(NAMES) <= registered
    assert max(Counter(NAMES).values()) == 1


def test_the_reference_and_the_controls_come_first():
    roles = [VARIANTS.card(name).role for name in NAMES]
    first = roles.index("entry")
    assert set(roles[first:]) == {"entry"}
    assert {"reference", "control", "no_attention"} <= set(roles[:first])
