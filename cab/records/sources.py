"""The hash of a variant's source (its file and every file that it uses, of its own and of CAB's
variants and kernels), and the hash of the laws that it is checked against."""

import ast
import hashlib
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cab.errors import CabError
from cab.records.code import card_fields_read, syntax_of, without_words, words_read
from cab.records.imports import Follower
from cab.registry import Registry
from cab.taxonomy import TaskCard, VariantCard

FOLLOWED = ("cab.variants", "cab.kernels")
"""Packages whose files belong to a mechanism; the harness itself is covered by its version."""

_HARNESS = "cab"
LAWS = "cab.conformance"
FOUNDATION = ("cab.attention", "cab.decoding")
"""Modules of the harness that variants compute with; the laws import some of them only."""


def source_hash(path: Path) -> str:
    """Hash the code that defines a mechanism, so that a changed mechanism is a new entry.

    The hash covers the file and all that it imports, directly or not, anywhere in the code:

    - of a plug-in, the modules of its own top-level package, of the other packages that the same
      distribution installs, and the `__init__` files on the way;
    - of a file of the user's (`--include`), the modules beside it, those in folders and files that
      its code names (`sys.path`, loaders that take a path), and those on Python's search path
      that no distribution installed;
    - the modules of `cab.variants` and `cab.kernels`.

    Imports through `importlib.import_module` count where the name is written out. A module that
    is not found counts by its name, a compiled one by its bytes. Other installed packages, names
    that are computed, and other files that the code reads (weights, tables) cannot be known, and
    are not covered.

    Comments and layout do not count, nor do docstrings, unless any of the files reads docstrings
    or source text (`__doc__`, `inspect.getdoc`, `inspect.getsource`). The fields of the card in
    `cab.registry.register_variant` count only where a file reads them (`self.card.budget`); where
    the card is passed on, all of them count. A decorator of another origin counts in full.
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


def installed_sources(
    variants: Registry[VariantCard], names: Iterable[str] | None = None
) -> dict[str, str]:
    """The source hash of each variant as it is installed, of those of the names that are."""
    asked = variants.names() if names is None else names
    return {
        name: source_hash(variants.entries[name].path)
        for name in dict.fromkeys(asked)
        if name in variants.entries
    }


def installed_task_sources(tasks: Registry[TaskCard]) -> dict[str, str]:
    """The source hash of each task as it is here, of those that are not CAB's own."""
    return {
        name: source_hash(entry.path)
        for name, entry in tasks.entries.items()
        if not entry.built_in
    }


def other_source(variant: str, source: str, installed: Mapping[str, str]) -> str:
    """Say that results are not of the installed source; nothing if they are, or none is."""
    if installed.get(variant, source) == source:
        return ""
    return f"results of another source, {source[:8]}..., not the installed one"


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
    path = path.absolute()
    found: dict[str, ast.Module] = {}
    bare: list[tuple[str, str]] = []
    own: list[Path] = []
    if _built_in(path):
        _collect(path, "", found, files, FOLLOWED)
    else:
        reached = Follower(path, lambda one: _noted(one, files)).follow()
        own = sorted(reached.modules)
        for file, tree in reached.modules.items():
            name = "" if file == path else _module_name(file)
            if tree is None:
                bare.append((name, f"{name}: {_digest(file)}"))
            else:
                found[name if name not in found else f"{name} {len(found)}"] = tree
        bare += [(name, f"{name}: missing") for name in reached.missing]
        for module in sorted(reached.built_in):
            if origin := _origin(module, FOLLOWED):
                _collect(origin, module, found, files, FOLLOWED)
    words, fields = words_read(found.values()), card_fields_read(found.values())
    texts = [
        (name.split(" ")[0], syntax_of(without_words(tree, words != "none", fields)))
        for name, tree in found.items()
    ]
    if words == "text":
        bare += [(_module_name(file), _digest(file)) for file in own or [path]]
    text = "\n".join(text for _, text in sorted([*texts, *bare]))
    return hashlib.sha256(text.encode()).hexdigest()


def _built_in(path: Path) -> bool:
    roots = [root for package in ("cab", *FOLLOWED) for root in _folders(package)]
    return any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots)


def _folders(package: str) -> list[str]:
    """The folders of one of CAB's packages."""
    return list(importlib.import_module(package).__path__)


def _module_name(path: Path) -> str:
    """A file's name from its outermost package on, which is the same wherever that lies."""
    parts = [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            break
        parts.append(folder.name)
    return ".".join(reversed(parts))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return type(error).__name__


def _noted(path: Path, files: dict[Path, tuple[int, int]]) -> bool:
    """Whether a file is there; its stamp is noted, so that a later change of it is seen."""
    files[path] = _stamp(path)
    return os.path.isfile(path)


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
    return syntax_of(_WithoutStrings().visit(without_words(tree)))


class _WithoutStrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node
