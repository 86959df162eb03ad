"""Read settings and cards, strictly: unknown keys and wrong types raise.

Settings are `--set key=value`; cards are the literal keywords of a decorator in a file.
"""

import ast
import copy
import dataclasses
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from cab.errors import CabError, UnknownName
from cab.taxonomy import TaskCard, VariantCard

Settings = TypeVar("Settings")


def parse_settings(
    settings_class: type[Settings], options: Mapping[str, Any], owner: str
) -> Settings:
    """Build `settings_class` from `options` (texts or values), whose keys must be its fields.

    owner names the thing in error messages, for example "variant window".

    Raises:
        UnknownName: a key that is no field, with the nearest ones.
        CabError: a value of the wrong type or out of the range that the class checks.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [field.name for field in dataclasses.fields(settings_class)]  # type: ignore[arg-type]
    for key in options:
        if not known:
            raise CabError(f"{owner} has no settings; remove {key!r}.")
        if key not in known:
            raise UnknownName(f"setting of {owner}", key, known)
    try:
        return TypeAdapter(settings_class).validate_python(dict(options))
    except ValidationError as error:
        problems = "; ".join(
            _said(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()
        )
        raise CabError(f"Invalid settings of {owner}: {problems}.") from None


def _said(name: str, problem: str) -> str:
    problem = problem.removeprefix("Value error, ").rstrip(".")
    return f"{name}: {problem}" if name else problem


def split_assignments(assignments: list[str], option: str = "--set") -> dict[str, str]:
    """Turn ["window=8", "train.steps=10"] into a mapping; the last of equal keys wins.

    Raises:
        CabError: one is no KEY=VALUE, with the option that was given it.
    """
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise CabError(f"{option} {assignment!r} is not of the form KEY=VALUE.")
        pairs[key.strip()] = value.strip()
    return pairs


DECORATORS: Mapping[str, Any] = {"register_variant": VariantCard, "register_task": TaskCard}
"""The decorators of `cab.registry`, with their cards."""


def read_keywords(path: Path, decorator: str) -> dict[str, Any]:
    """Read the keywords of the one `@decorator(...)` in a file, without running the file.

    Raises:
        CabError: the file is not Python, does not register one class, or has other than literals.
    """
    return copy.deepcopy(_read_keywords(path, _read(path), decorator))


@lru_cache(maxsize=1000)  # Within one process, each content of a file is parsed once.
def _read_keywords(path: Path, source: str, decorator: str) -> dict[str, Any]:
    calls = list(_decorator_calls(_parse(path, source), decorator))
    if (n := len(calls)) != 1:
        count = f"{n} classes" if n else "nothing"
        raise CabError(f"{path} registers {count}. Decorate one class with @{decorator}(...).")
    keywords: dict[str, Any] = {}
    for keyword in calls[0].keywords:
        if keyword.arg is None:
            raise CabError(f"{path}, line {keyword.lineno}: @{decorator} takes no **.")
        try:
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            where = f"{path}, line {keyword.lineno}: {keyword.arg} in @{decorator}"
            raise CabError(
                f"{where} must be a literal, because the card is read without running the file."
            ) from None
    _check_keywords(path, decorator, keywords)
    return keywords


def kinds_in(path: Path) -> list[str]:
    """What a file of the user's registers, `variant` or `task` or both, without running it.

    Raises:
        CabError: there is no such file, or it is not Python.
    """
    if not path.is_file():
        raise CabError(f"--include {path}: there is no such file.")
    tree = _parse(path, _read(path))
    found = (name for name in DECORATORS if any(_decorator_calls(tree, name)))
    return [name.removeprefix("register_") for name in found]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CabError(f"{path} is not valid Python: {error}.") from None


def _parse(path: Path, source: str) -> ast.Module:
    try:
        return ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise CabError(f"{path}, line {error.lineno} is not valid Python: {error}.") from None


def _check_keywords(path: Path, decorator: str, keywords: dict[str, Any]) -> None:
    card_class = DECORATORS[decorator]
    fields = card_class.__dataclass_fields__
    for key in (key for key in keywords if key not in fields):
        raise UnknownName(f"card field (in {path})", key, fields)
    try:
        card_class.from_keywords(**keywords)
    except (TypeError, KeyError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not complete: {error}.") from None
    except (ValueError, AssertionError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not valid: {error}.") from None


def _decorator_calls(tree: ast.Module, decorator: str) -> Iterator[ast.Call]:
    for node in _classes(tree):
        for call in node.decorator_list:
            if isinstance(call, ast.Call):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
                if (name.id if isinstance(name, ast.Name) else name) == decorator:
                    yield call


def _classes(node: ast.AST) -> Iterator[ast.ClassDef]:
    """Yield the classes at any depth; expressions are passed over, since they hold none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield child
        if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from _classes(child)
