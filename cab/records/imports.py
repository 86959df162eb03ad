"""The files that a variant's file imports: those of its own package, and those beside it.

Nothing is imported to find them. Other installed packages are not followed.
"""

import ast
import importlib.metadata
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import all_suffixes
from pathlib import Path

from cab.records.code import dotted_name, local_names

_SEARCHED = tuple(sys.path)
"""Where modules are looked for: as this process began, since a loaded variant may add folders."""

_INSTALLED = ("site-packages", "dist-packages")
_FILE_NAME = re.compile(r"[\w./\\ -]{1,200}")
_IMPORTERS = ("importlib.import_module", "importlib.__import__", "builtins.__import__")


@dataclass(frozen=True)
class Import:
    """One module that a file asks for; level counts the leading dots of a relative import.

    sure: it is a module, and not perhaps a name inside one. star: all of its names are taken.
    """

    name: str
    level: int = 0
    sure: bool = True
    star: bool = False


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """The modules that a file imports anywhere in it, with those that `import_module` names."""
    names = local_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            star = any(alias.name == "*" for alias in node.names)
            yield Import(module, node.level, bool(module), star)
            for alias in node.names:
                inner = f"{module}.{alias.name}".strip(".")
                yield Import(inner, node.level, sure=False)
        elif isinstance(node, ast.Call) and (name := _named_in(node, names)):
            bare = name.lstrip(".")
            yield Import(bare, len(name) - len(bare))
            if len(node.args) > 4:  # __import__(name, globals, locals, names, level)
                yield Import(bare, 1, sure=False)
        elif isinstance(node, ast.Attribute) and (name := dotted_name(node, names)):
            yield Import(name, sure=False)


def _named_in(call: ast.Call, names: dict[str, str]) -> str:
    """The literal name in a call of an importing function."""
    called = dotted_name(call.func, names)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    last = call.func.id if isinstance(call.func, ast.Name) else last
    if called not in _IMPORTERS and last not in ("import_module", "__import__"):
        return ""
    asked = [*call.args[:1], *(one.value for one in call.keywords if one.arg == "name")]
    literal = asked[0].value if asked and isinstance(asked[0], ast.Constant) else ""
    return literal if isinstance(literal, str) else ""


@dataclass
class Reached:
    """All that a file reaches: its own modules by file, and the names of CAB's that they ask for.

    Attributes:
        modules: parsed files; None for a file that is not Python text, such as a compiled module.
        missing: modules of its own that were not found.
    """

    modules: dict[Path, ast.Module | None] = field(default_factory=dict)
    built_in: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


class Follower:
    """Follows the imports of one file through its own package and the files beside it.

    Args:
        main: the file.
        probe: says whether a file is there; called for every file that is read or looked for.
    """

    def __init__(self, main: Path, probe: Callable[[Path], bool]) -> None:
        self._main, self._probe = main, probe
        plain = (one for one in main.parents if not probe(one / "__init__.py"))
        self._roots = list(dict.fromkeys((main.parent, next(plain, main.parent))))
        self._known_roots: dict[tuple[str, Path, int], list[Path]] = {}
        self.reached = Reached()

    def follow(self) -> Reached:
        """Read the file and all that it reaches."""
        waiting = [self._main]
        while waiting:
            path = waiting.pop()
            if path in self.reached.modules or not self._probe(path):
                continue
            tree = self.reached.modules[path] = _parsed(path)
            waiting += self._packages_above(path)
            if tree is not None:
                waiting += self._named_files(path, tree)
                for one in imports_of(tree):
                    waiting += self._files_of(one, path)
        return self.reached

    def _packages_above(self, path: Path) -> Iterator[Path]:
        """The `__init__` files of the packages that a file is in, which run before it does."""
        for folder in path.parents:
            if not self._probe(folder / "__init__.py"):
                return
            yield folder / "__init__.py"

    def _named_files(self, path: Path, tree: ast.Module) -> Iterator[Path]:
        """Python files that stand in the code as text, for loaders that take a path.

        Folders that stand there are searched for modules too, for they may be put on `sys.path`.
        """
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _FILE_NAME.fullmatch(node.value)
        ]
        adds_folders = any(
            isinstance(node, ast.Attribute) and node.attr in ("path", "addsitedir")
            for node in ast.walk(tree)
        )
        files = [text for text in texts if text.endswith(".py")]
        if not files and not adds_folders:
            return
        folders = [path.parent / text for text in texts if os.path.isdir(path.parent / text)]
        folders = [path.parent, *(folder.resolve() for folder in folders)]
        if adds_folders:
            folders += path.parents[1:3]  # as in sys.path.insert(0, str(here.parent))
        self._roots += [folder for folder in folders[1:] if folder not in self._roots]
        for folder in dict.fromkeys((*folders, *self._roots)):
            named = (folder / text for text in files)
            yield from (one.resolve() for one in named if self._probe(one))

    def _files_of(self, one: Import, path: Path) -> list[Path]:
        parts = one.name.split(".") if one.name else []
        if not all(part.isidentifier() for part in parts) or not (parts or one.level):
            return []
        if one.level:
            roots = [path.parents[min(one.level, len(path.parents)) - 1]]
        elif parts[0] == "cab":
            self.reached.built_in.add(one.name)
            return []
        else:
            roots = self._roots_of(parts[0], path)
        best: list[Path] = []
        for root in roots:
            files, whole = self._find(root, parts)
            if whole:
                return files + (self._all_of(files[-1]) if one.star and files else [])
            best = best or files
        if best and one.sure:
            self.reached.missing.add(one.name)
        return best

    def _find(self, root: Path, parts: Sequence[str]) -> tuple[list[Path], bool]:
        """The files that run when a module is imported, and whether the module is there."""
        files: list[Path] = []
        for place, part in enumerate(parts):
            if found := self._file(root, f"{part}/__init__"):
                files.append(found)
            elif found := self._file(root, part):
                return [*files, found], place == len(parts) - 1
            elif not os.path.isdir(root / part):
                return files, False
            root = root / part
        if not parts and (found := self._file(root, "__init__")):
            files.append(found)
        return files, bool(files) or not parts

    def _file(self, folder: Path, stem: str) -> Path | None:
        candidates = (folder / f"{stem}{suffix}" for suffix in all_suffixes())
        return next((path for path in candidates if self._probe(path)), None)

    def _all_of(self, package: Path) -> list[Path]:
        """The modules of a package that `from package import *` may bring: those in its text."""
        if package.name != "__init__.py":
            return []
        tree = _parsed(package)
        texts = [text for node in ast.walk(tree or ast.Module([], [])) for text in _name_in(node)]
        return [path for text in texts for path in self._find(package.parent, [text])[0]]

    def _roots_of(self, top: str, path: Path) -> list[Path]:
        """The folders in which a top-level module of one's own may be."""
        asked = top, path.parent, len(self._roots)
        if asked not in self._known_roots:
            roots = [folder.parent for folder in path.parents if folder.name == top]
            roots += [root for root in dict.fromkeys(self._roots) if self._is_own(top, root)]
            searched = _searched_folder(top)
            if searched is not None and self._is_own(top, searched):
                roots.append(searched)
            self._known_roots[asked] = roots
        return self._known_roots[asked]

    def _is_own(self, top: str, folder: Path) -> bool:
        """Whether a module in a folder is there and is not one of another installed package."""
        beside = folder in self._main.parents
        installed = folder.name in _INSTALLED
        if installed and not beside:
            return False
        if not any(self._file(folder, stem) for stem in (f"{top}/__init__", top)):
            return not installed and os.path.isdir(folder / top)
        owners = _owners(folder)
        if top not in owners:
            return not installed
        name = self._main.relative_to(folder).parts[0].split(".")[0] if beside else ""
        return bool(owners[top] & owners.get(name, set()))


def _name_in(node: ast.AST) -> Iterator[str]:
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.isidentifier()
    ):
        yield node.value


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):  # a compiled module, or a text that does not import
        return None


@lru_cache(maxsize=512)
def _searched_folder(top: str) -> Path | None:
    """The folder of Python's search path in which a top-level module is found."""
    if top in sys.stdlib_module_names:
        return None
    known = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    folders = [Path(name).resolve() for name in _SEARCHED if name not in known]
    for folder in folders:
        if any(os.path.isfile(folder / name) for name in (f"{top}/__init__.py", f"{top}.py")):
            return folder
    for finder in sys.meta_path:  # packages that are installed in place
        if str(getattr(finder, "__module__", "")).startswith("__editable__"):
            spec = finder.find_spec(top, None)
            if spec is not None and spec.origin is not None:
                place = Path(spec.origin).resolve().parent
                return place.parent if spec.submodule_search_locations else place
    return next((folder for folder in folders if os.path.isdir(folder / top)), None)


@lru_cache(maxsize=64)
def _owners(folder: Path) -> dict[str, set[str]]:
    """The installed distributions of a folder, by the top-level modules they brought there."""
    found: dict[str, set[str]] = {}
    for one in importlib.metadata.distributions(path=[str(folder)]):
        for line in (one.read_text("RECORD") or "").splitlines():
            top = line.split(",")[0].split("/")[0].split(".")[0]
            found.setdefault(top, set()).add(one.name)
    return found
