"""Writing the pages: equal results give equal bytes."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

import cab
from cab.errors import CabError
from cab.records.files import try_writing
from cab.records.invariance import words
from cab.records.results import canonical_line
from cab.records.text import tidy
from cab.scores import report
from cab.scores.estimates import Estimated
from cab.site import pages
from cab.site.citations import bibliography, bibtex, cab_bibtex
from cab.site.content import Content, ProfileContent, gather, slug
from cab.site.formulas import complexity
from cab.site.glossary import GLOSSARY
from cab.site.plots import mark
from cab.site.strips import strip
from cab.taxonomy import Pattern

MARK = ".cab-site"
"""A file by which a folder is known to be one that this program wrote."""


@dataclass(frozen=True)
class Written:
    """The files that were written, by name, and the problems in the results.

    notes says which published results were replaced by the user's.
    """

    files: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def build_site(results: Path | None, out: Path, include: tuple[Path, ...] = ()) -> Written:
    """Write the site of a results folder; None stands for those that `results_folders` finds.

    The pages are written to a temporary folder, which replaces `out` when all are complete.

    Raises:
        CabError: out contains other files, or cannot be written.
    """
    if out.exists() and not (out / MARK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise CabError(
            f"{out} contains files that are not pages of this site, so it was not changed. "
            f"Choose another --out, or empty it."
        )
    try_writing(out.absolute().parent, "The pages", folder=True)
    content = gather(results, include)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as folder:
            made = Path(folder) / "site"
            made.mkdir()
            for name, text in sorted(files(content).items()):
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(tidy(text), encoding="utf-8", newline="\n")
            (made / MARK).write_text("Written by `cab site build`, and replaced by it.\n")
            before = Path(folder) / "before"  # it goes with the temporary folder
            if out.exists():
                out.rename(before)
            try:
                made.rename(out)
            except OSError:
                if before.exists():
                    before.rename(out)
                raise
    except OSError as error:
        raise CabError(f"The site cannot be written to {out}: {error}.") from None
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return Written(tuple(written), tuple(content.problems), tuple(content.notes))


def files(content: Content) -> dict[str, str]:
    """Every file of the site, by its path."""
    found = {f"assets/{name}": _asset(name) for name in ("site.css", "site.js", "icon.svg")}
    environment = _environment(content)
    for page in pages.all_pages(content):
        root = "../" * page.path.count("/")
        template = environment.get_template(page.template)
        text = template.render(page.values, root=root, path=page.path, profile=page.profile)
        found[page.path] = re.sub(r"\n\s*\n+", "\n", text).strip() + "\n"
    for one in content.profiles:
        found |= dict(_downloads(one))
    found["data/cab.bib"] = bibliography(content.variants.values())
    return found


def _asset(name: str) -> str:
    return resources.files("cab.site").joinpath("assets", name).read_text(encoding="utf-8")


def _downloads(content: ProfileContent) -> Iterator[tuple[str, str]]:
    folder = f"data/{content.profile}"
    yield f"{folder}/board.json", report.to_json(content.board)
    yield f"{folder}/board.csv", report.to_csv(content.board)
    yield f"{folder}/board.tex", report.to_latex(content.board)
    for variant in sorted({record.variant.name for record in content.records.values()}):
        records = sorted(content.records_of(variant), key=lambda one: one.key)
        text = "".join(canonical_line(one) + "\n" for one in records)
        yield f"{folder}/records/{slug(variant)}.jsonl", text


def _environment(content: Content) -> Environment:
    environment = Environment(
        loader=PackageLoader("cab.site", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "slug": slug,
        "signed": _signed,
        "score": lambda drawn: _two_decimals(drawn.point),
        "decimals": _two_decimals,
        "half": half_width,
        "wide": lambda one: half_width(one, tasks=True),
        "number": number,
        "markdown": _markdown,
        "code": _code,
        "complexity": complexity,
        "bibtex": bibtex,
        "interval": report.interval_text,
        "moved": words,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    environment.globals |= {
        "version": cab.__version__,
        "variants": content.variants,
        "tasks": content.tasks,
        "reference": content.reference,
        "glossary": GLOSSARY,
        "profiles": [one.profile for one in content.profiles],
        "patterns": list(Pattern),
        "strip": strip,
        "family_mark": mark,
        "arxiv": arxiv,
        "cab_bibtex": cab_bibtex(),
    }
    return environment


def arxiv(number: str) -> str:
    """The address of a paper; nothing for what is no number of a paper."""
    plain = re.fullmatch(r"\d{4}\.\d{4,5}|[a-z.-]+/\d{7}", number)
    return f"https://arxiv.org/abs/{number}" if plain else ""


def _markdown(text: str) -> Markup:
    """Render Markdown; markup in it stays text. What can scroll sideways can be focused."""
    found = MarkdownIt("js-default").render(text)
    found = found.replace("<pre>", '<pre tabindex="0" role="group" aria-label="Code">')
    wide = '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>'
    return Markup(found.replace("<table>", wide).replace("</table>", "</table></div>"))


def _code(text: str) -> Markup:
    """A sentence of a card, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _two_decimals(value: float) -> str:
    return f"{value:z.2f}".replace("-", "\u2212")


def half_width(one: Estimated, digits: int = 2, tasks: bool = False) -> str:
    """The interval as text, from lower to upper end; `one seed` if there is none.

    It is over seeds, or over seeds and tasks.
    """
    interval = one.interval(tasks)
    if interval is None:
        return "one seed"
    return f"{interval.low:z.{digits}f} \u2013 {interval.high:z.{digits}f}".replace("-", "\u2212")


def number(value: float | None, digits: int = 3) -> str:
    """A number in so many digits, without an exponent where it can be read without one."""
    if value is None or value != value:
        return "\u2013"
    if value == 0:
        return "0"
    text = f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return text.replace("-", "\u2212")


def _signed(value: float) -> str:
    return f"{value:+z.3f}".replace("-", "\u2212")
