"""The hash of a variant's source (its file and every file of CAB's variants and kernels that it
uses), and the hash of the laws that it is checked against."""

import ast
import hashlib
import importlib
from collections.abc import Iterator
from pathlib import Path

from cab.errors import CabError

FOLLOWED = ("cab.variants", "cab.kernels")
"""Packages whose files belong to a mechanism; the harness itself is covered by its version."""

_HARNESS = "cab"
LAWS = "cab.conformance"
FOUNDATION = ("cab.attention", "cab.decoding")
"""Modules of the harness that variants compute with; the laws import some of them only."""


def source_hash(path: Path) -> str:
    """Hash the code that defines a mechanism, so that a changed mechanism is a new entry.

    Comments, docstrings and layout do not count: the parsed code is hashed. Neither does the
    card: it says things of the mechanism and changes nothing in it.
    """
    return _hash(path, {})


def laws_hash() -> str:
    """Hash the laws and the code that their verdicts depend on, except the variant's own.

    The hash covers every module of `cab.conformance`, the modules that variants are built on
    (`FOUNDATION`), and all modules of `cab` that any of these imports, directly or not. It does
    not cover `__init__.py` of packages that are only passed through (`cab/__init__.py` holds the
    version), nor PyTorch and Python. Comments, docstrings, strings that stand alone below a
    constant, and layout do not count.

    Raises:
        CabError: no law was found, so there is nothing to hash.
    """
    trees = laws_sources()
    text = "\n".join(f"{name}: {_dump_code(trees[name])}" for name in sorted(trees))
    return hashlib.sha256(text.encode()).hexdigest()


def laws_sources() -> dict[str, ast.Module]:
    """The parsed modules that `laws_hash` covers, by dotted name.

    Raises:
        CabError: no law was found.
    """
    origin = _origin(LAWS, (_HARNESS,))
    laws = sorted(origin.parent.glob("[!_]*.py")) if origin else []
    if not laws:
        raise CabError(f"The package {LAWS} holds no law. Install CAB again.")
    found: dict[str, ast.Module] = {}
    for module in (LAWS, *(f"{LAWS}.{path.stem}" for path in laws), *FOUNDATION):
        path = _origin(module, (_HARNESS,))
        if path is None:
            raise CabError(f"The module {module} is missing. Install CAB again.")
        _collect(path, module, found, {}, (_HARNESS,))
    return found


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
    found: dict[str, ast.Module] = {}
    _collect(path, "", found, files, FOLLOWED)
    text = "\n".join(ast.dump(_without_words(found[name])) for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


def _collect(
    path: Path,
    name: str,
    found: dict[str, ast.Module],
    files: dict[Path, tuple[int, int]],
    followed: tuple[str, ...],
) -> None:
    """Parse a module and the modules it imports, directly or not, from the followed packages."""
    if name in found:
        return
    files[path] = _stamp(path)  # before it is read: what changes afterwards shows
    found[name] = tree = ast.parse(path.read_text(encoding="utf-8"))
    for module in imported_modules(tree):
        if origin := _origin(module, followed):
            _collect(origin, module, found, files, followed)


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a file imports anywhere, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _origin(module: str, followed: tuple[str, ...]) -> Path | None:
    """Find a module's file without importing it; None if it is no module of those packages."""
    package = next((name for name in followed if f"{module}.".startswith(f"{name}.")), None)
    if package is None:
        return None
    for root in importlib.import_module(package).__path__:
        inside = Path(root, *module.removeprefix(package).strip(".").split("."))
        for path in (inside.with_suffix(".py"), inside / "__init__.py"):
            if path.is_file():
                return path
    return None


def _dump_code(tree: ast.Module) -> str:
    """The code of a module without any string that stands alone as a statement."""
    return ast.dump(_WithoutStrings().visit(_without_words(tree)))


class _WithoutStrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


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
