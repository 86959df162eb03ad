"""The ledger of law checks: which variant kept every law in which pattern, and with which code.

`ledger.json` is written by `make prove` and committed. A test skips a check that the ledger holds
under the same conditions; what it does not hold, or holds of other code, is checked in full.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import law_checks
import torch
from support import REPOSITORY

from cab.records.files import whole
from cab.records.sources import Sources, laws_hash
from cab.registry import Registry, name_of_role
from cab.taxonomy import Pattern, VariantCard

LEDGER = REPOSITORY / "tests" / "conformance" / "ledger.json"
USES = ("on", "off", "write")
"""Values of the environment variable LEDGER: skip what the ledger holds (the default), check
everything, or skip what it holds and add what is checked, as `make prove` does."""

HISTORY = ("added", "used_by")
"""Fields of a card that no law looks at."""

CHECKED = "kept every law"
"""The property by which a test tells the writer of the ledger what it checked."""


def use() -> str:
    """What the environment says to do with the ledger."""
    value = os.environ.get("LEDGER") or "on"
    if value not in USES:
        raise ValueError(
            f"The environment variable LEDGER is {value!r}; set one of {', '.join(USES)}."
        )
    return value


@dataclass(frozen=True)
class Conditions:
    """What all entries of a ledger depend on; under other conditions none of them counts.

    laws, checks and reference are hashes: of the laws and all that they import, of the file that
    runs them, and of the variant that some laws compare with.
    """

    laws: str
    checks: str
    checked: tuple[str, ...]
    reference: str
    torch: str
    architecture: str


@dataclass(frozen=True)
class Entry:
    """A variant as it was checked: the hashes of its source and card, and the patterns."""

    source: str
    card: str
    patterns: tuple[str, ...]


class Present:
    """The variants as their files are now, and the conditions of a check in this process."""

    def __init__(self, variants: Registry[VariantCard]) -> None:
        self.variants = variants
        self._sources = Sources()

    @cached_property
    def conditions(self) -> Conditions:
        """Read once: the laws that a process has imported do not change any more."""
        reference = self.entry(self.reference)
        return Conditions(
            laws=laws_hash(),
            checks=self._sources.hash(Path(law_checks.__file__)),
            checked=law_checks.CHECKED,
            reference=_hash([reference.source, reference.card]),
            torch=torch.__version__.partition("+")[0],
            architecture=platform.machine(),
        )

    @property
    def reference(self) -> str:
        """The variant that some laws compare with."""
        return name_of_role(self.variants, "reference")

    def entry(self, name: str) -> Entry:
        """What the ledger would hold of a variant that keeps every law."""
        variant = self.variants.entry(name)
        patterns = tuple(sorted(variant.card.patterns))
        card = {key: value for key, value in asdict(variant.card).items() if key not in HISTORY}
        return Entry(self._sources.hash(variant.path), _hash(card), patterns)


@dataclass
class Ledger:
    """The entries by variant, and the conditions under which they were made."""

    conditions: Conditions | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path = LEDGER) -> "Ledger":
        """Read a ledger; a missing file is an empty one.

        Raises:
            ValueError: the file is not a ledger.
        """
        if not path.exists():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            conditions = Conditions(**_tuples(content["conditions"]))
            entries = {
                name: Entry(**_tuples(entry)) for name, entry in content["variants"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path} is not a ledger of law checks: {error}. Delete it and run `make prove`."
            ) from None
        return cls(conditions, entries)

    @classmethod
    def trusted(cls, path: Path = LEDGER) -> "Ledger":
        """The ledger that tests skip by: an empty one where the environment says LEDGER=off."""
        return cls() if use() == "off" else cls.read(path)

    def write(self, path: Path = LEDGER) -> None:
        """Write the ledger whole: sorted, with one line per variant."""
        assert self.conditions is not None
        with whole(path) as beside:
            beside.write_text(str(self), encoding="utf-8")

    def __str__(self) -> str:
        conditions = _lines(asdict(self.conditions) if self.conditions else {})
        variants = _lines({name: asdict(entry) for name, entry in self.entries.items()})
        return f'{{\n"conditions": {{\n{conditions}\n}},\n"variants": {{\n{variants}\n}}\n}}\n'

    def holds(self, name: str, pattern: Pattern, present: Present) -> bool:
        """Whether the variant as it is now was checked in a pattern under today's conditions."""
        entry = self.entries.get(name)
        if entry is None or pattern not in entry.patterns:
            return False
        now = present.entry(name)
        same = (entry.source, entry.card) == (now.source, now.card)
        return same and self.conditions == present.conditions

    def current(self, present: Present) -> "Ledger":
        """The part of this ledger that holds under today's conditions."""
        kept = Ledger(present.conditions)
        for name in present.variants.names():
            for pattern in present.variants.card(name).patterns:
                if self.holds(name, pattern, present):
                    kept.add(name, pattern, present.entry(name))
        return kept

    def add(self, name: str, pattern: Pattern, checked: Entry) -> None:
        """Add a pattern in which a variant, as it was checked, keeps every law."""
        before = self.entries.get(name)
        kept = before is not None and replace(before, patterns=()) == replace(checked, patterns=())
        patterns = {pattern.value, *(before.patterns if before and kept else ())}
        self.entries[name] = replace(checked, patterns=tuple(sorted(patterns)))


class Writer:
    """A pytest plugin that adds each check that passes to the ledger and writes it at once.

    A variant whose files changed during the run is left out: it is not known which were imported.
    """

    def __init__(self, present: Present, path: Path = LEDGER) -> None:
        self.present, self.path = present, path
        self.before = {name: present.entry(name) for name in present.variants.names()}
        self.ledger = Ledger.read(path).current(present)
        self.ledger.write(path)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take a test that passed, by the property that it recorded."""
        for key, value in report.user_properties:
            if key == CHECKED and report.when == "call" and report.passed:
                name, pattern = value
                if all(self._unchanged(one) for one in (name, self.present.reference)):
                    self.ledger.add(name, Pattern(pattern), self.before[name])
                    self.ledger.write(self.path)

    def _unchanged(self, name: str) -> bool:
        return self.present.entry(name) == self.before[name]

    def pytest_sessionfinish(self, session: Any) -> None:
        """Fail if the ledger is incomplete, even if no test failed."""
        if self._missing() and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what the ledger lacks."""
        missing = self._missing()
        for name, patterns in missing.items():
            terminalreporter.write_line(f"Not in the ledger: {name} in {', '.join(patterns)}")
        if not missing:
            terminalreporter.write_line(f"{self.path.name} holds every registered variant.")

    def _missing(self) -> dict[str, list[str]]:
        found = {}
        for name, now in self.before.items():
            held = self.ledger.entries.get(name)
            lacking = sorted({*now.patterns} - {*(held.patterns if held else ())})
            if lacking:
                found[name] = lacking
        return found


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _lines(values: Mapping[str, Any]) -> str:
    texts = (f"{json.dumps(k)}: {json.dumps(values[k], sort_keys=True)}" for k in sorted(values))
    return ",\n".join(texts)
