"""Figures: a family has one colour and one sign, and no name covers another."""

import re
from xml.etree import ElementTree

import pytest
from support import REPOSITORY

from cab.site.build import files
from cab.site.content import Content, gather
from cab.site.plots import DASHES, MARKERS, Point, dashes_of, lines, scatter
from cab.site.svg import OF_FAMILY
from cab.taxonomy import Family


@pytest.fixture(scope="module")
def content() -> Content:
    return gather(REPOSITORY / "results")


@pytest.fixture(scope="module")
def written(content: Content) -> dict[str, str]:
    return files(content)


def legends(page: str) -> list[list[tuple[str, str, str, str]]]:
    """Per figure of lines, of each named entry: name, family of its sign, of its line, dashes."""
    found = []
    for text in re.findall(r'<p class="legend ends">.*?</p>', page):
        root = ElementTree.fromstring(text)
        names = []
        for span in root:
            line = span.find(".//line")
            mark = next(one for one in span if "mark" in one.attrib.get("class", ""))
            family = mark.attrib["class"].split("f-")[1]
            stroke = line.attrib["class"].removeprefix("stroke-")
            dashes = line.attrib.get("stroke-dasharray", "")
            names.append((mark.tail.strip(), family, stroke, dashes))
        found.append(names)
    return found


def drawn_lines(page: str) -> list[set[tuple[str, str]]]:
    """Per figure with named lines the class of colour and the dashes of each."""
    figures = re.findall(
        r'<svg [^>]*class="plot".*?</svg>(?=\n?<p class="legend ends">)', page, re.S
    )
    return [
        {
            (stroke, dashes.replace(",", " "))
            for stroke, dashes in (
                (re.search(r'class="stroke-(\w+)"', path), re.search(r'dasharray="([^"]+)"', path))
                for path in re.findall(r"<path [^>]*?/>", figure)
                if re.search(r'stroke-width="1\.2"', path)
            )
            for stroke, dashes in [(stroke.group(1), dashes.group(1) if dashes else "")]
        }
        for figure in figures
    ]


def test_kernels_draw_every_entry_with_the_sign_and_colour_of_its_own_family(
    content: Content, written: dict[str, str]
) -> None:
    figures = legends(written["kernels.html"])
    assert len(figures) >= 12
    for names in figures:
        for entry, sign, stroke, _ in names:
            family = content.family(entry)
            assert sign == family, entry
            assert stroke == ("muted" if family == "unknown" else family), entry
        looks = [(sign, dashes) for _, sign, _, dashes in names]
        assert len(set(looks)) == len(looks), names


def test_every_figure_of_lines_draws_what_its_legend_says(written: dict[str, str]) -> None:
    seen = 0
    for page in (text for name, text in written.items() if name.endswith(".html")):
        for names, drawn in zip(legends(page), drawn_lines(page), strict=True):
            looks = {
                (stroke, " ".join(f"{float(one):g}" for one in dashes.split()))
                for _, _, stroke, dashes in names
            }
            plain = {
                (stroke, " ".join(f"{float(one):g}" for one in dashes.split()))
                for stroke, dashes in drawn
            }
            assert plain == looks
            seen += 1
    assert seen >= 12


def test_no_two_families_share_a_colour_and_all_have_a_sign() -> None:
    assert MARKERS.keys() == OF_FAMILY.keys() == {*Family, "unknown"}
    assert len(set(OF_FAMILY.values())) == len(OF_FAMILY)
    known = [sign for family, sign in MARKERS.items() if family != "unknown"]
    assert len(set(known)) == len(known)


def test_many_entries_of_one_family_are_all_dashed_differently() -> None:
    names = [f"entry-{n}" for n in range(3 * len(DASHES))]
    found = dashes_of(names, dict.fromkeys(names, "linear"))
    assert found["entry-0"] == ()
    assert len(set(found.values())) == len(names)
    assert all(len(dashes) % 2 == 0 for dashes in found.values())


def test_the_family_of_what_is_not_installed_is_unknown_and_no_control() -> None:
    series = {"gone": {1.0: 2.0, 2.0: 3.0}, "mean": {1.0: 1.0, 2.0: 2.0}}
    families = {"gone": "unknown", "mean": "control"}
    text = lines("x", series, families, ("length", "cost"), ("A title", "In words"))
    ((_, sign, stroke, _), (_, other, _, _)) = legends(text)[0]
    assert (sign, stroke, other) == ("unknown", "muted", "control")


def test_names_of_points_in_one_place_do_not_cover_each_other() -> None:
    names = ("softmax", "sdpa", "chunked", "another")
    points = [Point(name, Family.SOFTMAX, 1.0, 1.0, None, True) for name in names]
    points += [Point("far", Family.LINEAR, 3.0, 0.2, None, True)]
    text = scatter("x", points, "cost", None, ("A title", "In words"))
    places = re.findall(
        r"<text [^>]*?(?:x=\"([-\d.]+)\" y=\"([-\d.]+)\"|translate\(([-\d.]+) ([-\d.]+)\))"
        r"[^>]*>(\w+)</text>", text
    )  # fmt: skip
    at = {word: (float(a or c), float(b or d)) for a, b, c, d, word in places if word in names}
    assert at.keys() == set(names)
    for one, (x, y) in at.items():
        for other, (u, v) in at.items():
            if one < other:
                apart = abs(y - v) >= 9 or x + 5 * len(one) <= u or u + 5 * len(other) <= x
                assert apart, (one, other, at)
