"""New variants, and mechanisms in production models: who is marked, and the filters."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from made_records import VARIANTS
from site_support import opened

from cab.site.content import Content, gather
from cab.site.news import NEW_FOR, new_variants, newest_record

USED = {name for name, card in VARIANTS.items() if card.used_by}


@pytest.fixture(scope="module")
def content(results: Path) -> Content:
    return gather(results)


def with_dates(content: Content, **added: date | None) -> Content:
    """The content with these variants alone, added on these days."""
    cards = {name: replace(VARIANTS[name], added=day) for name, day in added.items()}
    return replace(content, variants=cards)


def test_new_is_what_was_added_within_180_days_before_the_newest_record(content: Content) -> None:
    newest = newest_record(content.profiles[0])
    assert newest is not None
    last, day = newest.date(), timedelta(days=1)
    found = with_dates(
        content,
        softmax=last - 400 * day,
        window=last - NEW_FOR - day,
        linear=last - NEW_FOR,
        deltanet=last,
        performer=last + day,
        gqa=None,
    )
    assert NEW_FOR.days == 180
    assert new_variants(found, found.profiles[0]) == {"linear", "deltanet", "performer"}


def test_what_came_with_the_reference_is_not_new(content: Content) -> None:
    newest = newest_record(content.profiles[0])
    assert newest is not None
    last, day = newest.date(), timedelta(days=1)
    found = with_dates(content, softmax=last - day, window=last - day, linear=last)
    assert new_variants(found, found.profiles[0]) == {"linear"}
    undated = with_dates(content, softmax=None, window=last - day, linear=last)
    assert new_variants(undated, undated.profiles[0]) == {"window", "linear"}


def test_without_records_nothing_is_new(content: Content) -> None:
    empty = replace(content.profiles[0], records={})
    assert newest_record(empty) is None
    assert new_variants(content, empty) == frozenset()


def test_the_page_of_a_variant_links_the_sources_of_who_uses_it(site: Path) -> None:
    for name in sorted(USED):
        page = (site / "variants" / f"{name}.html").read_text()
        for use in VARIANTS[name].used_by:
            assert f'<a href="{use.source}" rel="noreferrer">{use.model}</a>' in page
    assert "used in</th>" not in (site / "variants" / "performer.html").read_text()


def test_the_page_of_a_variant_says_when_it_was_added(site: Path) -> None:
    for name in ("performer", "kda"):
        page = (site / "variants" / f"{name}.html").read_text()
        assert f'<th scope="row">added</th><td>{VARIANTS[name].added}' in page


def shown(page: Any) -> list[str]:
    """The rows that can be seen, by the first word of their names."""
    rows = page.locator("#board tbody tr[data-entry]:visible")
    names = rows.evaluate_all("rows => rows.map(row => row.dataset.entry)")
    return [name.split(" ")[0] for name in names]


def test_the_pages_filter_what_is_new_and_what_is_used(
    browser: Any, site: Path, content: Content
) -> None:
    new = new_variants(content, content.profiles[0])
    assert new
    assert new < VARIANTS.keys()
    with opened(browser) as (page, wrong):
        for name in ("index.html", "variants/index.html"):
            page.goto((site / name).as_uri())
            every = shown(page)
            page.get_by_label("used in production models").check()
            assert "used=1" in page.url
            assert shown(page) == [name for name in every if name in USED]
            assert set(shown(page)) & USED
            page.get_by_label("new", exact=True).check()
            assert shown(page) == [name for name in every if name in USED & new]
            page.get_by_label("used in production models").uncheck()
            assert shown(page) == [name for name in every if name in new]
            page.go_back()
            page.go_back()
            page.go_back()
            assert shown(page) == every
        assert wrong == []
