"""The hash of the laws covers all code that a verdict depends on, and no words."""

import ast
import inspect

import pytest
from source_copies import change, copy_sources
from support import REPOSITORY

import cab
from cab.conformance.check import LAWS
from cab.errors import CabError
from cab.records.sources import FOLLOWED, laws_hash, laws_sources
from cab.running import gate

LAW = "cab/conformance/padding.py"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    return copy_sources(tmp_path, monkeypatch)


def harness_imports(folder):
    """The modules of the harness that the files of a folder import."""
    found = set()
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                found.add(node.module)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
    return {name for name in found if name.startswith("cab.") and not name.startswith(FOLLOWED)}


def test_every_law_and_all_that_variants_build_on_are_covered():
    covered = set(laws_sources())
    assert {inspect.getmodule(law.run).__name__ for law in LAWS} <= covered
    built_on = harness_imports("variants") | harness_imports("kernels")
    assert "cab.decoding" in built_on
    assert built_on <= covered


def test_the_copy_hashes_as_the_original(tmp_path, monkeypatch):
    original = laws_hash()
    copy_sources(tmp_path, monkeypatch)
    assert laws_hash() == original


def test_a_change_of_code_in_any_covered_module_counts(copy):
    hashes = [laws_hash()]
    modules = sorted(laws_sources())
    for module in modules:
        path = copy.joinpath(*module.split("."))
        change(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
        hashes.append(laws_hash())
    assert len(set(hashes)) == len(modules) + 1 > 20


def test_a_changed_limit_and_a_module_that_a_law_newly_imports_count(copy):
    hashes = [laws_hash()]
    change(copy / "cab/conformance/causality.py", "torch.float32: 1e-5", "torch.float32: 1e-4")
    hashes.append(laws_hash())
    (copy / "cab" / "newly.py").write_text("LIMIT = 1\n")
    assert laws_hash() == hashes[-1]
    change(copy / LAW, "import torch\n", "import torch\n\nfrom cab.newly import LIMIT\n")
    hashes.append(laws_hash())
    change(copy / "cab/newly.py", "1", "2")
    hashes.append(laws_hash())
    change(copy / "cab/conformance/liveness.py")
    (copy / "cab/conformance/another.py").write_text("LAW = None\n")
    hashes.append(laws_hash())
    (copy / "cab/conformance/another.py").unlink()
    hashes.append(laws_hash())
    assert len(set(hashes)) == len(hashes)


def test_comments_docstrings_and_layout_do_not_count(copy):
    original = laws_hash()
    path = copy / "cab/conformance/causality.py"
    change(path, '"""Tokens per batch of cuts, to bound memory."""', '"""Anything."""  # else')
    change(path, '"""Causality: output t never', '"""Another sentence: output t never')
    change(path, '    """As it is trained and tested', '    """In other words')
    change(path, "import torch\n", "# A comment\n\n\nimport torch\n")
    assert laws_hash() == original


def test_no_law_to_hash_is_an_error(copy, monkeypatch):
    (copy / "cab/conformance").rename(copy / "cab/elsewhere")
    with pytest.raises(CabError, match=r"cab\.conformance holds no law"):
        laws_hash()
    (copy / "cab/conformance").mkdir()
    (copy / "cab/conformance/__init__.py").write_text("")
    with pytest.raises(CabError, match=r"cab\.conformance holds no law"):
        laws_hash()
    monkeypatch.setattr(cab, "__path__", [])
    with pytest.raises(CabError):
        laws_hash()


def test_the_gate_asks_again_when_a_law_changes(copy):
    def kept_file():
        gate._laws.cache_clear()
        law_check = gate.LawCheck("mean", gate.Pattern.NS, {}, "0" * 64, "card", "cpu", ())
        return law_check.file

    try:
        original = kept_file()
        assert gate._laws() == laws_hash()
        assert kept_file() == original
        change(copy / LAW)
        assert kept_file() != original
    finally:
        gate._laws.cache_clear()
