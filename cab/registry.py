"""Registered variants and tasks: found by reading their files, imported when needed.

A file registers one class with one decorator whose keywords are literals. The card is read from
the source text, so that listing a hundred variants imports none of them (and not torch); the
class is imported by `load`. Three places are searched: the built-in folders, the user's own files
(`--include`), and the entry-point groups `cab.variants` and `cab.tasks` of installed packages.
"""

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
from cab.formula import SYMBOLS
from cab.settings import kinds_in, read_keywords
from cab.taxonomy import Role, TaskCard, VariantCard

INCLUDED = "cab_included_"
"""How the names of the user's own files' modules begin; a file's name and path make the rest."""

Card = TypeVar("Card", VariantCard, TaskCard)
Registered = TypeVar("Registered", bound=type)


def register_variant(**keywords: Any) -> Callable[[Registered], Registered]:
    """Register the decorated `Attention`; the keywords are the fields of `VariantCard`.

    Raises:
        ValueError: a field of its Config has the name of a symbol of the card's formulas.
    """
    card = VariantCard.from_keywords(**keywords)
    carry = _carry(card)

    def decorate(registered: Registered) -> Registered:
        fields = getattr(getattr(registered, "Config", None), "__dataclass_fields__", {})
        if taken := [name for name in fields if name in SYMBOLS]:
            raise ValueError(
                f"{card.name}: the formulas of cards use {', '.join(taken)} for something else. "
                f"Rename the field of Config."
            )
        return carry(registered)

    return decorate


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

    @property
    def built_in(self) -> bool:
        """Whether it is CAB's own."""
        return self.module.startswith("cab.")

    @property
    def included(self) -> bool:
        """Whether it is a file of the user's, of no package."""
        return self.module.startswith(INCLUDED)


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
        """The entry of a name.

        Raises:
            UnknownName: there is none; the message lists similar names.
        """
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
        module = _import(entry.module, entry.path)
        for value in vars(module).values():
            if isinstance(value, type) and value.__dict__.get("card") == entry.card:
                return value
        raise CabError(
            f"{entry.path} registers {name!r} with @{self.decorator}, but the imported module has "
            f"no class with that card. Decorate a class at the top level of the module."
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
        """Add one file of the user's; one that registers another kind alone is passed over."""
        with self._tolerance():
            kinds = kinds_in(path)
            if not kinds:
                raise CabError(
                    f"{path} registers nothing. Decorate one class with @register_variant(...) or "
                    f"@register_task(...)."
                )
            if self.kind in kinds:
                self._add(path.resolve(), _module_of(path.resolve()))

    def add_entry_points(self, group: str) -> None:
        """Add what installed packages offer; a broken one is noted in `problems`, not fatal."""
        for point in importlib.metadata.entry_points(group=group):
            try:
                spec = importlib.util.find_spec(point.module)
                if spec is None or spec.origin is None:
                    raise CabError(f"there is no module {point.module}")
                self._add(Path(spec.origin), point.module)
            except Exception as error:  # another package's import may raise anything
                sentence = f"Entry point {point.name} of {group} is skipped: {point.module}: "
                self.problems.append(f"{sentence}{error}")

    def _add(self, path: Path, module: str) -> None:
        card = self.card_class.from_keywords(**read_keywords(path, self.decorator))
        entry = Entry(card, path, module)
        if isinstance(card, VariantCard) and card.role != "entry" and not entry.built_in:
            raise CabError(
                f"{path}: role {card.role!r} is reserved for built-in variants. Use 'entry'."
            )
        present = self.entries.get(card.name)
        if present is not None and present.path != path:
            raise CabError(
                f"Two files register the {self.kind} {card.name!r}: {present.path} and {path}. "
                f"Rename one of them."
            )
        self.entries[card.name] = entry


def import_file(path: Path) -> None:
    """Import a file of the user's, so that what is pickled of it can be read.

    Raises:
        CabError: it does not import, with the line that failed.
    """
    _import(_module_of(path), path)


def _module_of(path: Path) -> str:
    return f"{INCLUDED}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _import(name: str, path: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a file prints is no result
            if not name.startswith(INCLUDED):
                return importlib.import_module(name)
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            # Registered before it runs: dataclasses look their own module up.
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        sys.modules.pop(name, None)
        line = _line_in(path, error)
        raise CabError(
            f"{path}{line} cannot be imported: {type(error).__name__}: {error}"
        ) from error


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
    return name_of_role(variants, "reference"), name_of_role(variants, "no_attention")


def certified(tasks: Registry[TaskCard], profile: str) -> tuple[int, int]:
    """How many tasks are certified in a profile, and so scored, and how many are to be."""
    cards = [card for card in tasks.cards() if card.in_row(profile)]
    return sum(card.scored_in(profile) for card in cards), len(cards)


def discover_variants(
    include: tuple[Path, ...] = (), *, tolerant: bool = False
) -> Registry[VariantCard]:
    """All variants: built in, of installed packages, and of the given files.

    Raises:
        CabError: a file cannot be read; if tolerant, it is noted in `problems` instead.
    """
    return _discover(Registry("variant", VariantCard, tolerant=tolerant), "cab.variants", include)


def _discover(registry: Registry[Card], package: str, include: tuple[Path, ...]) -> Registry[Card]:
    registry.add_package(package)
    registry.add_entry_points(package)
    for path in include:
        registry.add_file(path)
    return registry


def discover_tasks(
    include: tuple[Path, ...] = (), *, tolerant: bool = False
) -> Registry[TaskCard]:
    """All tasks, from the same places."""
    return _discover(Registry("task", TaskCard, tolerant=tolerant), "cab.tasks", include)
