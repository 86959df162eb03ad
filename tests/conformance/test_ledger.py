"""The ledger stands for a check of exactly this code under these conditions, and for no other."""

import platform
from types import SimpleNamespace

import law_checks
import law_ledger
import pytest
import torch
from law_ledger import CHECKED, LEDGER, Ledger, Present, Writer
from source_copies import change, copy_sources
from support import VARIANTS

from cab.registry import discover_variants
from cab.taxonomy import Pattern

NAMES = (
    "softmax",
    "mean",
    "none",
    "tempscale",
    "hedgehog",
    "performer",
    "gla",
    "linear",
    "window",
)
ALL = set(NAMES)
"""Variants that share helpers and kernels, and such that do not."""


def now(*more):
    """Some variants as they are on the disk, read anew."""
    return Present(discover_variants().only(*NAMES, *more))


def full(present):
    """A ledger that holds every variant in every pattern."""
    ledger = Ledger(present.conditions)
    for card in present.variants.cards():
        for pattern in card.patterns:
            ledger.add(card.name, pattern, present.entry(card.name))
    return ledger


def held(ledger):
    """The variants that need no check now, in all their patterns."""
    present = now()
    return {
        card.name
        for card in present.variants.cards()
        if all(ledger.holds(card.name, pattern, present) for pattern in card.patterns)
    }


@pytest.fixture
def copy(tmp_path, monkeypatch):
    return copy_sources(tmp_path, monkeypatch)


@pytest.fixture
def ledger(copy):
    return full(now())


def test_what_the_ledger_holds_needs_no_check(ledger, tmp_path):
    assert held(ledger) == ALL
    ledger.write(tmp_path / "ledger.json")
    assert held(Ledger.read(tmp_path / "ledger.json")) == ALL


CHANGES = {
    "variants/softmax/tempscale.py": {"tempscale"},
    "variants/linear/_log_features.py": {"hedgehog", "performer"},
    "kernels/linear/vector_decay.py": {"gla", "hedgehog", "performer"},
    "kernels/linear/chunked.py": {"linear"},
    "cab/conformance/padding.py": ALL,
    "cab/conformance/subject.py": ALL,
    "cab/attention.py": ALL,
    "cab/decoding.py": ALL,
    "cab/formula.py": ALL,
    "cab/seeding.py": ALL,
    "cab/taxonomy.py": ALL,
    "variants/softmax/softmax.py": ALL,  # the reference, which laws compare with
}
"""Files, and the variants that have to be checked again after a change of one."""


def test_what_a_changed_file_takes_part_in_is_checked_again(copy, ledger):
    for file, concerned in CHANGES.items():
        path = copy / file
        original = path.read_text(encoding="utf-8")
        change(path)
        assert held(ledger) == ALL - concerned, file
        path.write_text(original, encoding="utf-8")
        assert held(ledger) == ALL, file


def test_a_changed_card_is_checked_again(copy, ledger):
    change(copy / "variants/softmax/tempscale.py", 'state="2 M E"', 'state="3 M E"')
    assert held(ledger) == ALL - {"tempscale"}


def test_another_way_of_checking_holds_nothing(ledger, tmp_path, monkeypatch):
    path = tmp_path / "law_checks.py"
    path.write_text("def broken_laws(variants, name, pattern):\n    return []\n")
    monkeypatch.setattr(law_checks, "__file__", str(path))
    assert held(ledger) == set()


def test_another_list_of_laws_holds_nothing(ledger, monkeypatch):
    monkeypatch.setattr(law_checks, "CHECKED", law_checks.CHECKED[1:])
    assert held(ledger) == set()


@pytest.mark.parametrize("part", [0, 1, 2])
def test_another_release_of_torch_holds_nothing_and_another_build_all(ledger, monkeypatch, part):
    release = torch.__version__.partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{release}+another")
    assert held(ledger) == ALL
    numbers = release.split(".")
    numbers[part] = f"{numbers[part]}1"
    monkeypatch.setattr(torch, "__version__", ".".join(numbers))
    assert held(ledger) == set()


def test_another_processor_architecture_holds_nothing(ledger, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "another")
    assert held(ledger) == set()


def test_an_absent_variant_and_an_absent_pattern_are_checked(copy, ledger):
    del ledger.entries["mean"]
    softmax = ledger.entries.pop("softmax")
    ledger.add("softmax", Pattern.CS, softmax)
    assert held(ledger) == ALL - {"mean", "softmax"}
    assert ledger.holds("softmax", Pattern.CS, now())
    assert not ledger.holds("softmax", Pattern.NS, now())
    (copy / "variants/control/newly.py").write_text(
        (copy / "variants/control/mean.py").read_text().replace('name="mean"', 'name="newly"')
    )
    assert not any(ledger.holds("newly", pattern, now("newly")) for pattern in Pattern)


def test_an_empty_ledger_holds_nothing(copy, tmp_path):
    assert held(Ledger()) == set()
    assert held(Ledger.read(tmp_path / "absent.json")) == set()


def test_the_environment_may_force_every_check(ledger, tmp_path, monkeypatch):
    ledger.write(tmp_path / "ledger.json")
    for value, expected in {"": ALL, "on": ALL, "write": ALL, "off": set()}.items():
        monkeypatch.setenv("LEDGER", value)
        assert held(Ledger.trusted(tmp_path / "ledger.json")) == expected
    monkeypatch.setenv("LEDGER", "of")
    with pytest.raises(ValueError, match="LEDGER is 'of'; set one of on, off, write"):
        Ledger.trusted(tmp_path / "ledger.json")


@pytest.mark.parametrize(
    "text", ["<<<<<<< HEAD\n{}", "[]", '{"variants": {}}', '{"conditions": 1}']
)
def test_a_broken_ledger_is_an_error_that_says_what_to_do(tmp_path, text):
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(ValueError, match=r"is not a ledger .* Delete it and run `make prove`"):
        Ledger.read(tmp_path / "ledger.json")


def test_the_committed_ledger_is_canonical_and_names_registered_variants():
    ledger = Ledger.read()
    assert str(ledger) == LEDGER.read_text(encoding="utf-8")
    assert len(str(ledger).splitlines()) == len(ledger.entries) + 12
    assert set(ledger.entries) <= set(VARIANTS.names())


def report(name, pattern, passed=True):
    properties = [(CHECKED, [name, pattern])] if passed else []
    return SimpleNamespace(when="call", passed=passed, user_properties=properties)


def test_the_writer_keeps_what_is_current_and_adds_what_passes(copy, ledger, tmp_path):
    path = tmp_path / "ledger.json"
    del ledger.entries["mean"]
    ledger.write(path)
    change(copy / "variants/softmax/tempscale.py")
    writer = Writer(now(), path)
    assert held(Ledger.read(path)) == ALL - {"mean", "tempscale"}
    for pattern in VARIANTS.card("mean").patterns:
        writer.pytest_runtest_logreport(report("mean", pattern.value))
    writer.pytest_runtest_logreport(report("tempscale", "cs", passed=False))
    assert held(Ledger.read(path)) == ALL - {"tempscale"}
    lines = []
    writer.pytest_terminal_summary(SimpleNamespace(write_line=lines.append))
    assert lines == ["Not in the ledger: tempscale in cc, cs, nc, ns"]
    session = SimpleNamespace(exitstatus=0)
    writer.pytest_sessionfinish(session)
    assert session.exitstatus == 1
    for pattern in VARIANTS.card("tempscale").patterns:
        writer.pytest_runtest_logreport(report("tempscale", pattern.value))
    assert held(Ledger.read(path)) == ALL


@pytest.mark.parametrize("edited", ["variants/control/mean.py", "variants/softmax/softmax.py"])
def test_the_writer_leaves_out_what_was_edited_meanwhile(copy, tmp_path, edited):
    path = tmp_path / "ledger.json"
    writer = Writer(now(), path)
    writer.pytest_runtest_logreport(report("mean", "ns"))
    change(copy / edited)
    writer.pytest_runtest_logreport(report("mean", "cs"))
    assert Ledger.read(path).entries["mean"].patterns == ("ns",)


def test_other_conditions_leave_no_old_entry(ledger, copy, tmp_path):
    path = tmp_path / "ledger.json"
    ledger.write(path)
    change(copy / "cab/conformance/padding.py")
    Writer(now(), path)
    assert Ledger.read(path).entries == {}
    assert law_ledger.use() in law_ledger.USES
