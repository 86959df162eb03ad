"""Which parts of a Python file count in the source hash: code, and the words that code reads."""

import ast
import sys
from collections.abc import Iterable, Iterator
from typing import Literal

VARIANT_DECORATOR, TASK_DECORATOR = "cab.registry.register_variant", "cab.registry.register_task"

WORDS_OF_TASKS = frozenset({"summary", "source", "licence"})
"""Fields of a task's card that nothing computes with; CAB trains and scores by the others."""

Words = Literal["none", "docstrings", "text"]

_DOCSTRING_READERS = frozenset({"__doc__", "getdoc", "get_docstring"})
_TEXT_READERS = frozenset(
    {"getsource", "getsourcelines", "getcomments", "findsource", "linecache"}
)


def local_names(tree: ast.Module) -> dict[str, str]:
    """Map each local name to the dotted name it stands for, by the imports of the file.

    A name that the file also binds in another way (an assignment, a definition, another import)
    is left out, since it may stand for either.
    """
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        for name, meaning in _bound(node):
            found.setdefault(name, set()).add(meaning)
    return {name: one for name, (one, *more) in found.items() if one and not more}


def _bound(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.split(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            meaning = "" if node.level else f"{node.module}.{alias.name}"
            yield alias.asname or alias.name, meaning
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, ""
    elif isinstance(node, ast.arg):
        yield node.arg, ""
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, ""


def dotted_name(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name that `a.b.c` stands for; empty if the file does not import its start."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    start = names.get(node.id, "") if isinstance(node, ast.Name) else ""
    return ".".join([start, *reversed(parts)]) if start else ""


def words_read(trees: Iterable[ast.Module]) -> Words:
    """Which words of the files their code reads: docstrings, the whole text, or none."""
    found: Words = "none"
    for tree in trees:
        for node in ast.walk(tree):
            said = _mentioned(node)
            if said & _TEXT_READERS:
                return "text"
            if said & _DOCSTRING_READERS:
                found = "docstrings"
    return found


def _mentioned(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.alias):
        return set(node.name.split("."))
    return set()


def card_fields_read(trees: Iterable[ast.Module]) -> frozenset[str] | None:
    """The fields of `card` that the files' code reads; None if it may read any field.

    `self.card.budget` reads one field. A card that is passed on, as in `card = self.card` or
    `getattr(self, "card")`, may have any field read.
    """
    fields: set[str] = set()
    for tree in trees:
        inside: set[int] = set()
        for node in ast.walk(tree):  # parents come before their children
            if isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Attribute) and node.value.attr == "card":
                    fields.add(node.attr)
                    inside.add(id(node.value))
                if node.attr == "card" and id(node) not in inside:
                    return None
            if isinstance(node, ast.Constant) and node.value == "card":
                return None
    return frozenset(fields)


def without_words(
    tree: ast.Module,
    docstrings: bool = False,
    fields: frozenset[str] | None = frozenset(),
) -> ast.Module:
    """Drop, in place, what does not count: docstrings and the cards of registered classes.

    Args:
        docstrings: keep the docstrings.
        fields: the fields of cards that are kept because code reads them; None keeps all. Of a
            task's card all is kept but `WORDS_OF_TASKS`.
    """
    names = local_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            kept = (_kept(one, names, fields) for one in node.decorator_list)
            node.decorator_list = [one for one in kept if one is not None]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and not docstrings:
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[isinstance(first.value.value, str) :]
    return tree


def _kept(
    decorator: ast.expr, names: dict[str, str], fields: frozenset[str] | None
) -> ast.expr | None:
    """A decorator without the card's fields that do not count; None if nothing of it counts.

    Only CAB's own decorator holds a card, under whatever local name; one of the same name from
    elsewhere may do anything, so all of it counts.
    """
    if not isinstance(decorator, ast.Call):
        return decorator
    name = dotted_name(decorator.func, names)
    if name == VARIANT_DECORATOR and fields is not None:
        kept = [one for one in decorator.keywords if one.arg in fields]
        return ast.Call(decorator.func, [], kept) if kept else None
    if name == TASK_DECORATOR:
        dropped = frozenset() if fields is None else WORDS_OF_TASKS - fields
        kept = [one for one in decorator.keywords if one.arg not in dropped]
        return ast.Call(decorator.func, [], kept)
    return decorator


def syntax_of(tree: ast.AST) -> str:
    """Return the syntax of a file as text, the same in every version of Python.

    Python 3.12 added a list of type parameters to functions and classes, and Python 3.13 leaves
    empty lists out. The text is that of Python 3.11, in which the published hashes were made.
    """
    for node in ast.walk(tree):
        if getattr(node, "type_params", None) == []:
            del node.type_params  # type: ignore[attr-defined]
    if sys.version_info >= (3, 13):
        return ast.dump(tree, show_empty=True)
    return ast.dump(tree)
