"""`--help` of every command: no help is cut short, and types are words that users know."""

import re
from collections.abc import Iterator

import pytest
from cli_support import cab_here

WORDS = {"TEXT", "N", "NUMBER", "FILE", "FOLDER", "KEY=VALUE", "K:1", "I/N", "FAMILY"}
OPTION = re.compile(r"^  (--[\w-]+)(?: (?!  )(\S+))?(?:  |$)")


def names_in(text: str) -> list[str]:
    """The commands that a help lists."""
    _, _, listed = text.partition("\nCommands:\n")
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def commands(*path: str) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands, by the words that call it."""
    yield path
    for name in names_in(cab_here(*path, "--help").out):
        yield from commands(*path, name)


ALL = list(commands())


def test_every_group_is_looked_into() -> None:
    assert {("run",), ("new", "task"), ("data", "verify"), ("site", "serve")} <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_help_fits_80_columns_and_names_types_in_plain_words(path: tuple[str, ...]) -> None:
    said = cab_here(*path, "--help")
    assert said.code == 0
    _, _, after_usage = said.out.partition("\n\n")
    assert not re.search(r"\.\.\.$", after_usage, re.MULTILINE), said.out
    assert max(map(len, said.out.splitlines())) <= 80
    assert not re.search(r"<\w|\[\w*(str|int|Path)\b|range>", said.out.split("\nOptions:")[-1])
    for line in said.out.splitlines():
        if (option := OPTION.match(line)) and (takes := option[2]):
            choices = re.fullmatch(r"\[[\w|]+\]", takes)
            assert choices or takes in WORDS, line


@pytest.mark.parametrize(
    ("path", "usage"),
    [
        (("check",), "VARIANT"),
        (("list",), "[KIND]"),
        (("verify",), "FILE..."),
        (("data", "fetch"), "[NAMES...]"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else None,
)
def test_arguments_are_named_as_they_are_typed(path: tuple[str, ...], usage: str) -> None:
    first, *_ = cab_here(*path, "--help").out.splitlines()
    assert first.endswith(f"{' '.join(path)} [OPTIONS] {usage}")


def test_the_short_helps_are_whole_sentences() -> None:
    _, _, listed = cab_here("--help").out.partition("\nCommands:\n")
    for line in listed.splitlines():
        if line.strip():
            assert line.endswith("."), line
