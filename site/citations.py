"""How to cite: BibTeX of CAB itself and of the paper of each mechanism."""

import re
from collections.abc import Iterable, Mapping

import cab
from cab.scores.report import tex
from cab.site.content import slug
from cab.taxonomy import VariantCard

VERSION_YEAR = 2026
TITLE = "CAB, the Comprehensive Attention Benchmark"
AUTHOR = "{The CAB contributors}"
"""In braces, so that it is one name and not four words of a person's."""

TAXONOMY = {
    "title": "CAB: Comprehensive Attention Benchmarking on Long Sequence Modeling",
    "author": "Zhang, Jun and Jiang, Shuyang and Feng, Jiangtao and Zheng, Lin and Kong, Lingpeng",
    "year": "2023",
    "eprint": "2210.07661",
}
"""The paper that the taxonomy and the name are from."""


def cab_bibtex() -> str:
    """The entries of this benchmark and of the paper that its taxonomy is from.

    No variant's name has a colon, so no other key is equal.
    """
    own = {
        "title": TITLE,
        "author": AUTHOR,
        "year": str(VERSION_YEAR),
        "note": f"Software, version {cab.__version__}",
    }
    return f"{_entry('cab:software', own)}\n{_entry('cab:taxonomy', _arxiv(TAXONOMY))}"


def bibtex(card: VariantCard) -> str:
    """The paper of a variant, as far as its card knows it; nothing if the card names none."""
    if not card.paper:
        return ""
    title, authors = _parts(card.paper)
    fields = {
        "title": tex(title),
        # A name of several words is that of a group, which braces keep together.
        "author": " and ".join(f"{{{tex(one)}}}" if " " in one else tex(one) for one in authors),
        "year": "" if card.year is None else str(card.year),
        "eprint": card.arxiv,
    }
    return _entry(slug(card.name), _arxiv(fields))


def bibliography(cards: Iterable[VariantCard]) -> str:
    """CAB's own entries, and one for each card that names a paper."""
    return "\n".join([cab_bibtex(), *filter(None, map(bibtex, cards))])


def _parts(paper: str) -> tuple[str, list[str]]:
    """Title and authors of `Title (One, Two et al.)`; what is in brackets last is the authors."""
    found = re.fullmatch(r"(.*\S)\s*\(([^()]*)\)", paper)
    if found is None:
        return paper, []
    names = [name.strip() for name in re.split(r",|\band\b|&", found.group(2)) if name.strip()]
    if names and names[-1].endswith(" et al."):
        names[-1:] = [names[-1].removesuffix(" et al."), "others"]
    return found.group(1), names


def _arxiv(fields: Mapping[str, str]) -> dict[str, str]:
    return {**fields, "archiveprefix": "arXiv"} if fields.get("eprint") else dict(fields)


def _entry(key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}\n"
