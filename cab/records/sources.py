"""The source hash of a variant: its file and every file of CAB's variants and kernels it uses."""

import ast
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path

FOLLOWED = ("cab.variants", "cab.kernels")
"""Packages whose files belong to a mechanism; the harness itself is covered by its version."""


def source_hash(path: Path) -> str:
    """Hash the code that defines a mechanism, so that a changed mechanism is a new entry.

    Comments, docstrings and layout do not count: the parsed code is hashed. Neither does the
    card: it says things of the mechanism and changes nothing in it.
    """
    return _hash(path, {})


class Sources:
    """The hashes of many mechanisms; a file is read anew only when it has changed on the disk."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[dict[Path, tuple[int, int]], str]] = {}

    def hash(self, path: Path) -> str:
        """The source hash of a mechanism as its files are now."""
        if path in self._known:
            stamps, known = self._known[path]
            if all(_stamp(file) == stamp for file, stamp in stamps.items()):
                return known
        files: dict[Path, tuple[int, int]] = {}
        known = _hash(path, files)
        self._known[path] = files, known
        return known


def _hash(path: Path, files: dict[Path, tuple[int, int]]) -> str:
    found: dict[str, str] = {}
    _collect(path, "", found, files)
    text = "\n".join(found[name] for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


def _collect(
    path: Path, name: str, found: dict[str, str], files: dict[Path, tuple[int, int]]
) -> None:
    if name in found:
        return
    files[path] = _stamp(path)  # before it is read: what changes afterwards shows
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found[name] = ast.dump(_without_words(tree))
    for module in imported_modules(tree):
        if module.startswith(FOLLOWED) and (origin := _origin(module)):
            _collect(origin, module, found, files)


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a file imports anywhere, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _origin(module: str) -> Path | None:
    """Find a module's file without importing it; None for a name that is no module."""
    package = next(name for name in FOLLOWED if module.startswith(name))
    for root in importlib.import_module(package).__path__:
        inside = Path(root, *module.removeprefix(package).strip(".").split("."))
        for path in (inside.with_suffix(".py"), inside / "__init__.py"):
            if path.is_file():
                return path
    return None


def _without_words(tree: ast.Module) -> ast.Module:
    """Drop docstrings and the cards of registered classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.decorator_list = [one for one in node.decorator_list if not _registers(one)]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[isinstance(first.value.value, str) :]
    return tree


def _registers(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
        "register_variant"
    )
