"""Which variants are new: by the dates of cards and records, never by the clock."""

from datetime import datetime, timedelta

from cab.site.content import Content, ProfileContent

NEW_FOR = timedelta(days=180)
"""How long a variant is new, counted back from the newest record."""


def newest_record(one: ProfileContent) -> datetime | None:
    """When the newest training run of a profile ended; None if there is none."""
    return max((record.provenance.ended for record in one.records.values()), default=None)


def new_variants(content: Content, one: ProfileContent) -> frozenset[str]:
    """The names of the variants that are new beside the records of a profile.

    They were added at most NEW_FOR before the newest record, and later than the reference, with
    which the first variants came. So equal results and cards give equal pages.
    """
    newest, reference = newest_record(one), content.variants[content.reference].added
    if newest is None:
        return frozenset()
    return frozenset(
        name
        for name, card in content.variants.items()
        if card.added is not None
        and newest.date() - card.added <= NEW_FOR
        and (reference is None or card.added > reference)
    )
