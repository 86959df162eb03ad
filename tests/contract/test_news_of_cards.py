"""What a card says of a variant's age and of who uses it."""

from datetime import date

import pytest
from support import VARIANTS

from cab.errors import CabError
from cab.registry import discover_variants
from cab.taxonomy import Use, VariantCard

CARD = {"name": "mine", "family": "linear", "patterns": "cs", "summary": "for this test"}
OWN = [entry for entry in VARIANTS.entries.values() if entry.built_in]


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.card.name)
def test_a_variant_of_cab_says_on_which_day_it_was_added(entry):
    added = entry.card.added
    assert added is not None, f'Add added="{date.today()}" to the card in {entry.path}.'
    assert added <= date.today(), entry.path


def test_variants_came_after_the_first():
    dates = {entry.card.added for entry in OWN}
    assert VARIANTS.card("softmax").added == min(dates)
    assert len(dates) > 1


def test_a_variant_of_others_may_say_neither():
    card = VariantCard.from_keywords(**CARD)
    assert card.added is None
    assert card.used_by == ()


def test_dates_and_models_are_read():
    pairs = (("A model 7B", "https://example.org/paper"), ["Another", "https://example.org/b?c=1"])
    card = VariantCard.from_keywords(**CARD, added="2026-02-28", used_by=pairs)
    assert card.added == date(2026, 2, 28)
    assert card.used_by == tuple(Use(*pair) for pair in pairs)


@pytest.mark.parametrize(
    "given", ["", "2026-02-30", "20260228", "2026-W09-6", "today", None, 2026]
)
def test_what_is_no_date_is_refused(given):
    with pytest.raises(
        ValueError, match=r"^added must be a date such as '2026-11-30', not "
    ) as no:
        VariantCard.from_keywords(**CARD, added=given)
    assert str(no.value).endswith(repr(given))


@pytest.mark.parametrize(
    "given",
    [
        "A model",
        ("A model", "https://example.org"),  # without the comma that makes it a tuple of pairs
        (("A model",),),
        (("A model", ""),),
        (("A model", "arXiv 2510.26692"),),
        (("A model", "http://example.org"),),
        (("A model", "javascript:alert(1)"),),
        (("A model", "https://example.org and more"),),
        ((" ", "https://example.org"),),
        ((7, "https://example.org"),),
        (("A model", "https://example.org", "2026"),),
        None,
    ],
)
def test_a_model_without_a_name_or_a_source_is_refused(given):
    with pytest.raises(ValueError, match=r"^used_by must hold pairs of the name of a model and"):
        VariantCard.from_keywords(**CARD, used_by=given)


def test_the_file_with_a_wrong_date_is_named(tmp_path):
    path = tmp_path / "mine.py"
    keywords = ", ".join(f"{key}={value!r}" for key, value in CARD.items())
    path.write_text(
        "from cab.registry import register_variant\n"
        f'@register_variant({keywords}, added="30.11.2026")\nclass Mine: ...\n'
    )
    with pytest.raises(CabError) as refusal:
        discover_variants((path,))
    assert str(path) in str(refusal.value)
    assert "is not valid: added must be a date such as '2026-11-30', not '30.11.2026'" in str(
        refusal.value
    )
