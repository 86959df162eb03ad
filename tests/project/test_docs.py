"""The pages of docs/ say what is: their commands run, their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import environment
from package_support import install
from support import REPOSITORY, VARIANTS

from cab.conformance.subject import GEOMETRIES
from cab.formula import FUNCTIONS
from cab.taxonomy import Family, VariantCard

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
FILES = {
    path: dict(
        re.findall(
            r"^\*\*`([\w./-]+)`\*\*\n\n```\w+\n(.*?)^```$",
            path.read_text(),
            re.MULTILINE | re.DOTALL,
        )
    )
    for path in PAGES
}
"""The files that a page shows in full: a name in bold, then its content."""
COMMANDS = {
    path: "\n".join(re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL))
    for path in PAGES
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(path, id=path.stem) for path, commands in COMMANDS.items() if commands]
)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    # As the pages say it: `cab` stands for the program of this environment.
    program = f'cab() {{ "{sys.executable}" -m cab "$@"; }}\n'
    for name, content in FILES[page].items():
        (tmp_path / name).write_text(content)
    changes = {}
    if "pyproject.toml" in FILES[page]:  # installed where this test alone sees it
        install(tmp_path, tmp_path / "installed")
        changes["PYTHONPATH"] = str(tmp_path / "installed")
        for name in FILES[page]:  # what is found is the installed package, not the folder
            (tmp_path / name).unlink()
    done = subprocess.run(
        ["sh", "-eu", "-c", program + COMMANDS[page]],
        cwd=tmp_path,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    if page.stem == "sweeps":
        assert "Nothing to do: all 6 cells have finished." in done.stderr
    if page.stem == "variants":
        assert "All laws hold: 17 verdicts" in done.stdout
        assert re.search(r"mqar +cs .* rotary-cosine ", done.stdout), done.stdout
    if page.stem == "plugins":
        assert re.search(r"^ *leaky-mean ", done.stdout, re.MULTILINE), done.stdout
        assert re.search(r"^ *first-token ", done.stdout, re.MULTILINE), done.stdout
        assert "All laws hold: 10 verdicts" in done.stdout
        assert re.search(r"first-token +cs .* leaky-mean ", done.stdout), done.stdout
    if page.stem == "teams":
        assert "1 records in sqlite:///shared.db: 0 added, 0 replaced, 1 unchanged" in done.stdout


@pytest.mark.parametrize("page", [pytest.param(path, id=path.stem) for path in PAGES])
def test_the_links_and_options_of_a_page_are_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (REPOSITORY / name).is_file(), name
    commands = REPOSITORY / "cab" / "commands"
    sources = [commands / "sweep.py", commands / "common" / "options.py"]
    known = set(re.findall(r'"(--[a-z-]+)"', "".join(path.read_text() for path in sources)))
    known |= {
        f"--{name.replace('_', '-')}"
        for name in re.findall(r"^    (\w+): ", sources[0].read_text(), re.M)
    }
    for command in re.findall(r"^cab sweep (?:.*\\\n)*.*$", text, re.MULTILINE):
        assert set(re.findall(r"(--[a-z-]+)", command)) <= known, command


def rows_of(text: str, head: str) -> list[list[str]]:
    """The cells of a page's table, found by the first row, without the words around code."""
    table = text[text.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_page_on_variants_says_what_the_code_holds() -> None:
    text = (REPOSITORY / "docs" / "variants.md").read_text()
    fields = [
        name
        for first, *_ in rows_of(text, "| field | holds |")
        for name in re.findall(r"`(\w+)`", first)
    ]
    assert sorted(fields) == sorted(VariantCard.__dataclass_fields__)
    examples = rows_of(text, "| variant | `sees` |")
    assert len(examples) == 5
    for name, sees in examples:
        assert VARIANTS.card(name.strip("`")).sees == sees.strip("`"), name
    (picture,) = re.findall(r"On pictures: `(.*)`", text)
    assert picture in {card.sees for card in VARIANTS.cards() if card.needs_grid}
    (functions,) = re.findall(r"and (`abs`.*?)\. Names", text, re.DOTALL)
    assert {*re.findall(r"`(\w+)`", functions), "log2"} == set(FUNCTIONS)
    (listed,) = re.findall(r"the next of\n?(.*?) heads and width", text, re.DOTALL)
    pairs = re.findall(r"\((\d+), (\d+)\)", listed)
    assert [(int(a), int(b)) for a, b in pairs] == [*GEOMETRIES[1:]]
    for family in re.findall(r"`(\w+)`", rows_of(text, "| field | holds |")[1][1]):
        Family(family)
