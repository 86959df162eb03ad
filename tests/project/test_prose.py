"""Prose files, help texts and messages use no word that only CAB's authors understand."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from private_words import PRIVATE
from support import REPOSITORY

from cab.commands.app import app

PROSE = [
    *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
FOLDERS = ("cab", "kernels", "site", "variants", "tasks")
"""Folders whose texts are read: docstrings, cards and messages."""
SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the help of a command, of its parameters and of its subcommands."""
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    for short, below in getattr(command, "commands", {}).items():
        yield from helps(below, f"{name} {short}")


HELP = [
    one
    for name, command in typer.main.get_command(app).commands.items()
    for one in helps(command, name)
]


def texts_of(path: Path) -> Iterator[str]:
    """Yield the string literals of more than one word, without the names of documented fields."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            if re.fullmatch(r"\w+ \| None", node.value):  # a type
                continue
            yield re.sub(r"^ +\w+(?:, \w+)*: ", "", node.value, flags=re.MULTILINE)


def private_words(text: str) -> list[str]:
    """Return the private words of a text, without code and addresses."""
    pattern = re.compile(rf"\b(?:{'|'.join(PRIVATE)})\b", re.IGNORECASE)
    return [re.sub(r"\s+", " ", one.group()) for one in pattern.finditer(prose_of(text))]


def prose_of(text: str) -> str:
    """Return the text without code, addresses and generated blocks."""
    text = re.sub(r"<!-- (\w+): written by.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


@pytest.mark.parametrize("path", [pytest.param(one, id=one.name) for one in PROSE])
def test_a_prose_file_uses_no_private_word(path) -> None:
    assert private_words(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("where", "text"), [pytest.param(*one, id=one[0]) for one in HELP])
def test_a_help_text_uses_no_private_word(where, text) -> None:
    assert private_words(text) == []


@pytest.mark.parametrize(
    "path", [pytest.param(one, id=str(one.relative_to(REPOSITORY))) for one in SOURCES]
)
def test_a_source_file_uses_no_private_word_in_its_texts(path) -> None:
    assert [word for text in texts_of(path) for word in private_words(text)] == []


def test_the_help_of_options_and_subcommands_is_read() -> None:
    read = dict(HELP)
    assert {"bench", "crossover", "data fetch", "data verify names"} <= read.keys()
    assert "samples" in read["bench samples"]


def test_private_words_are_found_in_prose_and_not_in_code() -> None:
    assert private_words("Nothing is scored before it is proved.") == ["proved"]
    assert private_words("The standing of a number") == ["standing"]
    assert private_words("`cab necessity X` and an identity matrix") == []
    assert private_words("Before\n\n```\nproof\n```\n\nAfter") == []
