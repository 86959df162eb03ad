"""How to cite: BibTeX that a BibTeX parser reads, and a CITATION.cff that fits its schema."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_records import VARIANTS
from support import REPOSITORY

import cab
from cab.site.citations import VERSION_YEAR, bibliography, bibtex, cab_bibtex

pybtex = pytest.importorskip("pybtex.database", reason="pybtex is not installed")

CITATION = REPOSITORY / "CITATION.cff"


def parsed(text: str) -> dict[str, object]:
    """Entries by key; pybtex raises for what is not BibTeX, for equal keys and for bad names."""
    return dict(pybtex.parse_string(text, "bibtex").entries)


def people(entry) -> list[str]:
    """Each author's name; one name with three commas is an error of BibTeX, and of pybtex."""
    return [" ".join(person.last_names).strip("{}") for person in entry.persons["author"]]


def given_names(entry) -> list[str]:
    return [name for person in entry.persons["author"] for name in person.first_names]


def test_every_card_with_a_paper_has_an_entry_whose_authors_are_separate_people() -> None:
    found = parsed(bibliography(VARIANTS.values()))
    cited = {name: card for name, card in VARIANTS.items() if card.paper}
    assert found.keys() == {*cited, "cab:software", "cab:taxonomy"}
    for name, card in cited.items():
        title, _, authors = card.paper.rpartition(" (")
        names = authors.removesuffix(")").replace(" et al.", ", others").split(", ")
        assert people(found[name]) == names, name
        assert given_names(found[name]) == [], name
        fields = found[name].fields
        assert fields["title"].replace("\\", "").replace("textasciicircum{}", "^") == title
        assert fields["year"] == str(card.year)
        where = (card.arxiv, "arXiv") if card.arxiv else (None, None)
        assert (fields.get("eprint"), fields.get("archiveprefix")) == where


@pytest.mark.parametrize(
    ("paper", "title", "names"),
    [
        ("Attention in O(n) Time (Ho, Kalchbrenner, Weissenborn, Salimans)",
         "Attention in O(n) Time", ["Ho", "Kalchbrenner", "Weissenborn", "Salimans"]),
        ("One (Two) Three (Four and Five)", "One (Two) Three", ["Four", "Five"]),
        ("Six (Seven & Eight, Nine et al.)", "Six", ["Seven", "Eight", "Nine", "others"]),
    ],
)  # fmt: skip
def test_titles_with_brackets_and_other_joins_are_read(paper, title, names) -> None:
    card = replace(VARIANTS["linear"], paper=paper)
    entry = parsed(bibtex(card))["linear"]
    assert entry.fields["title"] == title
    assert people(entry) == names


def test_a_card_without_authors_arxiv_or_year_gives_what_it_knows() -> None:
    card = replace(VARIANTS["linear"], paper="A 50 % title & more", arxiv="", year=None)
    entry = parsed(bibtex(card))["linear"]
    assert dict(entry.fields) == {"title": r"A 50 \% title \& more"}
    assert bibtex(replace(card, paper="")) == ""


def test_cab_itself_can_be_cited() -> None:
    found = parsed(cab_bibtex())
    own, taxonomy = found["cab:software"], found["cab:taxonomy"]
    assert own.fields["year"] == str(VERSION_YEAR)
    assert cab.__version__ in own.fields["note"]
    assert [str(person) for person in own.persons["author"]] == ["{The CAB contributors}"]
    assert len(people(taxonomy)) == 5
    assert taxonomy.fields["eprint"] == "2210.07661"


def test_the_pages_say_how(site: Path) -> None:
    method = (site / "method.html").read_text()
    assert '<h2 id="cite">How to cite</h2>' in method
    assert "@misc{cab:software," in method
    for page in (site / "index.html", site / "tasks" / "mqar.html"):
        assert "How to cite</a>" in page.read_text().partition("<footer")[2]
    assert "author = {Kim and Min and Cho}" in (site / "variants/additive.html").read_text()
    text = (site / "data" / "cab.bib").read_text()
    assert text == bibliography(VARIANTS[name] for name in VARIANTS)


def schema_check(path: Path) -> "subprocess.CompletedProcess[str]":
    schema = ["--builtin-schema", "vendor.citation-file-format"]
    command = [sys.executable, "-m", "check_jsonschema", *schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_citation_cff_fits_its_schema_and_says_what_the_pages_say(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    done = schema_check(CITATION)
    assert done.returncode == 0, done.stdout
    text = CITATION.read_text(encoding="utf-8")
    assert f'version: "{cab.__version__}"' in text
    assert "arXiv:2210.07661" in text
    assert all(
        f"family-names: {name}" in text for name in people(parsed(cab_bibtex())["cab:taxonomy"])
    )
    (tmp_path / "CITATION.cff").write_text(text.replace("authors:", "writers:", 1))
    assert schema_check(tmp_path / "CITATION.cff").returncode != 0
