"""A change of any code that a variant runs makes another cell, and another law check."""

import sys

import pytest
from cli_support import cells_of
from plug_ins import HEAD, install, source, write

from cab.running.gate import law_checks

ONE, OTHER = "factor = 1.0\n", "factor = -50.0\n"
SCALED = (
    "def my_register_variant(scale):\n    return lambda one: setattr(one, 's', scale) or one\n"
)
DECORATED = source(SCALED + "factor = 1.0").replace(
    "@register_variant", "@my_register_variant(scale=1.0)\n@register_variant"
)
DESCRIBED = (
    source("")
    .replace("factor * q", "float(type(self).__doc__) * q")
    .replace("MultiHeadAttention):\n    def", 'MultiHeadAttention):\n    """1.0"""\n\n    def')
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder on the search path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "myattn"]:
        del sys.modules[name]


def cells_and_checks(include=()):
    cells = cells_of(["plugged"], include=include)
    return [cell.key for cell in cells], [check.file for check in law_checks(cells, "cpu")]


def assert_renewed(before, after):
    for old, new in zip(before, after, strict=True):
        assert len(old) == len(new) > 0
        assert not set(old) & set(new)


@pytest.mark.parametrize("top", ["from myattn.core import factor", "from .core import factor"])
def test_a_changed_module_of_a_plug_in_is_another_cell(place, top):
    files = {"__init__.py": "", "core.py": ONE, "unused.py": ONE, "attn.py": source(top)}
    install(place, "myattn.attn", {f"myattn/{name}": text for name, text in files.items()})
    before = cells_and_checks()
    write(place, {"myattn/unused.py": OTHER, "myattn/core.py": f"{ONE}# the same\n"})
    assert cells_and_checks() == before
    write(place, {"myattn/core.py": OTHER})
    assert_renewed(before, cells_and_checks())
    write(place, {"myattn/core.py": ONE})
    assert cells_and_checks() == before


@pytest.mark.parametrize(
    ("files", "changed", "old", "new"),
    [
        (
            {
                "mine.py": source(
                    "import sys\nfrom pathlib import Path\n"
                    "sys.path.insert(0, str(Path(__file__).parent))\n"
                    "from helper_of_mine import factor"
                ),
                "helper_of_mine.py": ONE,
            },
            "helper_of_mine.py",
            "1.0",
            "-50.0",
        ),
        ({"mine.py": DECORATED}, "mine.py", "scale=1.0", "scale=9.0"),
        ({"mine.py": DESCRIBED}, "mine.py", '"""1.0"""', '"""7.0"""'),
        (
            {
                "mine.py": source("factor = 1.0").replace(
                    "factor * q", "len(self.card.summary) * q"
                )
            },
            "mine.py",
            "for a test",
            "for two tests",
        ),
    ],
    ids=["helper", "decorator", "docstring", "card"],
)
def test_a_change_of_what_an_included_file_runs_is_another_cell(
    tmp_path, monkeypatch, files, changed, old, new
):
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert HEAD in files["mine.py"]
    write(tmp_path, files)
    before = cells_and_checks([tmp_path / "mine.py"])
    text = files[changed].replace(old, new)
    assert text != files[changed]
    write(tmp_path, {changed: text})
    for name in [name for name in sys.modules if name.startswith("cab_included_mine")]:
        del sys.modules[name]
    assert_renewed(before, cells_and_checks([tmp_path / "mine.py"]))
