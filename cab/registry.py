"""What exists: variants and tasks, found by reading their files, loaded when they are needed.

A file registers one class with one decorator whose keywords are literals. The card is read from
the source text, so that listing a hundred variants imports none of them (and not torch); the
class is imported by `load`. Three places are searched: the built-in folders, files given with
`--include`, and the entry-point groups `cab.variants` and `cab.tasks` of installed packages.
"""

import ast
import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from cab.errors import CabError, UnknownName
from cab.taxonomy import Role, TaskCard, VariantCard

Card = TypeVar("Card", VariantCard, TaskCard)
Registered = TypeVar("Registered", bound=type)


def register_variant(**keywords: Any) -> Callable[[Registered], Registered]:
    """Register the decorated `Attention`; the keywords are the fields of `VariantCard`."""
    return _carry(VariantCard.from_keywords(**keywords))


def register_task(**keywords: Any) -> Callable[[Registered], Registered]:
    """Register the decorated `Task`; the keywords are the fields of `TaskCard`."""
    return _carry(TaskCard.from_keywords(**keywords))


def _carry(card: VariantCard | TaskCard) -> Callable[[Registered], Registered]:
    def decorate(registered: Registered) -> Registered:
        registered.card = card  # type: ignore[attr-defined]
        return registered

    return decorate


@dataclass(frozen=True)
class Entry(Generic[Card]):
    """One registered file: its card, where it stands, and how it is imported."""

    card: Card
    path: Path
    module: str


@dataclass
class Registry(Generic[Card]):
    """Names of one kind (variant or task), each with the file that registers it.

    tolerant: a file that cannot be read is noted in `problems`, and hides no other.
    """

    kind: str
    card_class: type[Card]
    entries: dict[str, Entry[Card]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tolerant: bool = False

    @property
    def decorator(self) -> str:
        """The decorator that a file of this kind uses."""
        return f"register_{self.kind}"

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.entries)

    def cards(self) -> list[Card]:
        """All cards, sorted by name."""
        return [self.entries[name].card for name in self.names()]

    def entry(self, name: str) -> Entry[Card]:
        """The entry of a name; an unknown one raises with the nearest names."""
        if name not in self.entries:
            raise UnknownName(self.kind, name, self.entries)
        return self.entries[name]

    def card(self, name: str) -> Card:
        """The card of a name."""
        return self.entry(name).card

    def load(self, name: str) -> type:
        """Import the class that a name stands for.

        Raises:
            CabError: the file does not import, with the line that failed.
        """
        entry = self.entry(name)
        module = _import_entry(entry)
        for value in vars(module).values():
            if isinstance(value, type) and value.__dict__.get("card") == entry.card:
                return value
        raise CabError(
            f"{entry.path} names {name!r} in @{self.decorator}, yet no class of the imported "
            f"module carries that card. Decorate the class itself, at the top of the module."
        )

    def only(self, *names: str) -> "Registry[Card]":
        """A registry of some of the names, small enough to be sent along with a cell."""
        return Registry(self.kind, self.card_class, {name: self.entry(name) for name in names})

    def modules(self) -> list[str]:
        """The modules of all names."""
        return [one.module for one in self.entries.values()]

    def add_package(self, package: str) -> None:
        """Add every file below an installed package, such as `cab.variants`."""
        for folder in importlib.import_module(package).__path__:
            root = Path(folder)
            for path in sorted(root.rglob("*.py")):
                if not path.name.startswith("_"):
                    relative: Path = path.relative_to(root).with_suffix("")
                    with self._tolerance():
                        self._add(path, ".".join((package, *relative.parts)))

    @contextlib.contextmanager
    def _tolerance(self) -> Iterator[None]:
        try:
            yield
        except CabError as error:
            if not self.tolerant:
                raise
            self.problems.append(str(error))

    def add_file(self, path: Path) -> None:
        """Add one file of the user's."""
        with self._tolerance():
            self._add_file(path)

    def _add_file(self, path: Path) -> None:
        if not path.is_file():
            raise CabError(f"--include {path}: there is no such file.")
        resolved = path.resolve()
        digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
        self._add(resolved, f"cab_included_{path.stem}_{digest}")

    def add_entry_points(self, group: str) -> None:
        """Add what installed packages offer; a broken one is noted in `problems`, not fatal."""
        for point in importlib.metadata.entry_points(group=group):
            try:
                spec = importlib.util.find_spec(point.module)
                if spec is None or spec.origin is None:
                    raise CabError(f"there is no module {point.module}")
                self._add(Path(spec.origin), point.module)
            except Exception as error:  # another package's import may raise anything
                sentence = f"Entry point {point.name} of {group} is left out: {point.module}: "
                self.problems.append(f"{sentence}{error}")

    def _add(self, path: Path, module: str) -> None:
        card = self.card_class.from_keywords(**read_keywords(path, self.decorator))
        own = module.startswith("cab.")
        if isinstance(card, VariantCard) and card.role != "entry" and not own:
            raise CabError(f"{path}: role {card.role!r} is CAB's own; other files use 'entry'.")
        present = self.entries.get(card.name)
        if present is not None and present.path != path:
            raise CabError(
                f"Two files register the {self.kind} {card.name!r}: {present.path} and {path}. "
                f"Rename one of them."
            )
        self.entries[card.name] = Entry(card, path, module)


def read_keywords(path: Path, decorator: str) -> dict[str, Any]:
    """Read the keywords of the one `@decorator(...)` in a file, without running the file.

    Raises:
        CabError: the file is not Python, registers nothing or more than one class, or a keyword
            is not a literal.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise CabError(f"{path}{line} is not valid Python: {error}.") from None
    calls = list(_decorator_calls(tree, decorator))
    if len(calls) != 1:
        count = "nothing" if not calls else f"{len(calls)} classes"
        raise CabError(f"{path} registers {count}; one @{decorator}(...) on one class is needed.")
    keywords: dict[str, Any] = {}
    for keyword in calls[0].keywords:
        if keyword.arg is None:
            raise CabError(f"{path}, line {keyword.lineno}: ** is not read in @{decorator}.")
        try:
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            raise CabError(
                f"{path}, line {keyword.lineno}: {keyword.arg} in @{decorator} must be a literal, "
                f"since the card is read without running the file."
            ) from None
    _check_keywords(path, decorator, keywords)
    return keywords


def _check_keywords(path: Path, decorator: str, keywords: dict[str, Any]) -> None:
    card_class = VariantCard if decorator == "register_variant" else TaskCard
    fields = card_class.__dataclass_fields__
    for key in keywords:
        if key not in fields:
            raise UnknownName(f"card field (in {path})", key, fields)
    try:
        card_class.from_keywords(**keywords)
    except (TypeError, KeyError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not complete: {error}.") from None
    except (ValueError, AssertionError) as error:
        raise CabError(f"{path}: the card in @{decorator} is not valid: {error}.") from None


def _decorator_calls(tree: ast.Module, decorator: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for call in node.decorator_list:
                if isinstance(call, ast.Call):
                    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func
                    if (name.id if isinstance(name, ast.Name) else name) == decorator:
                        yield call


def _import_entry(entry: Entry[Any]) -> ModuleType:
    if entry.module in sys.modules:
        return sys.modules[entry.module]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a file prints is no result
            return _import_module(entry)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        sys.modules.pop(entry.module, None)
        line = _line_in(entry.path, error)
        raise CabError(
            f"{entry.path}{line} does not import: {type(error).__name__}: {error}"
        ) from error


def _import_module(entry: Entry[Any]) -> ModuleType:
    if not entry.module.startswith("cab_included_"):
        return importlib.import_module(entry.module)
    spec = importlib.util.spec_from_file_location(entry.module, entry.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses look their own module up.
    sys.modules[entry.module] = module
    spec.loader.exec_module(module)
    return module


def _line_in(path: Path, error: BaseException) -> str:
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f", line {trace.tb_lineno},"
        trace = trace.tb_next
    return line


def name_of_role(variants: Registry[VariantCard], role: Role) -> str:
    """The one variant that has a role of its own, such as the reference."""
    (name,) = (card.name for card in variants.cards() if card.role == role)
    return name


def reference_names(variants: Registry[VariantCard]) -> tuple[str, str]:
    """The two variants between which scores are measured: softmax and none."""
    return name_of_role(variants, "reference"), name_of_role(variants, "zero")


def discover_variants(
    include: tuple[Path, ...] = (), *, tolerant: bool = False
) -> Registry[VariantCard]:
    """All variants: built in, of installed packages, and of the given files.

    Raises:
        CabError: a file cannot be read; if tolerant, it is noted in `problems` instead.
    """
    registry = Registry("variant", VariantCard, tolerant=tolerant)
    registry.add_package("cab.variants")
    registry.add_entry_points("cab.variants")
    for path in include:
        registry.add_file(path)
    return registry


def discover_tasks() -> Registry[TaskCard]:
    """All tasks: built in and of installed packages."""
    registry = Registry("task", TaskCard)
    registry.add_package("cab.tasks")
    registry.add_entry_points("cab.tasks")
    return registry
