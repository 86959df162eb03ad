"""The source hash changes with what a mechanism computes, and with nothing else."""

import importlib
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import VARIANTS

import cab.kernels
from cab.records.sources import source_hash

SOURCE = '''"""One mechanism."""

SCALE = 2


class Mechanism:
    """What it does."""

    def attend(self, q):
        """Return the answer."""
        return SCALE * q
'''


def hash_of(tmp_path, text):
    path = tmp_path / "mechanism.py"
    path.write_text(text, encoding="utf-8")
    return source_hash(path)


def test_layout_comments_and_docstrings_do_not_count(tmp_path):
    original = hash_of(tmp_path, SOURCE)
    for other in (
        SOURCE.replace("SCALE = 2", "SCALE  =  (2)  # twice"),
        SOURCE.replace('"""What it does."""', '"""Something else."""'),
        SOURCE.replace('        """Return the answer."""\n', ""),
        SOURCE.replace('"""One mechanism."""\n', ""),
        SOURCE.replace("SCALE * q", "(\n            SCALE\n            * q\n        )"),
    ):
        assert other != SOURCE
        assert hash_of(tmp_path, other) == original


@settings(max_examples=50)
@given(comments=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]))))
def test_no_comment_counts(tmp_path_factory, comments):
    folder = tmp_path_factory.mktemp("comments", numbered=True)
    lines = SOURCE.splitlines()
    for position, comment in enumerate(comments):
        lines.insert(min(3 + position, 5), f"# {comment}")
    assert hash_of(folder, "\n".join(lines)) == hash_of(folder, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2", "SCALE = 3"),
        ("SCALE * q", "q * SCALE"),
        ("attend", "mix"),
        ("return SCALE * q", "SCALE * q"),
        ("(self, q)", "(self, q, k=None)"),
        ("SCALE = 2", "SCALE = 2.0"),
    ],
)
def test_any_change_of_code_counts(tmp_path, old, new):
    assert hash_of(tmp_path, SOURCE.replace(old, new)) != hash_of(tmp_path, SOURCE)


def test_the_place_of_the_file_does_not_count(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    assert hash_of(tmp_path / "elsewhere", SOURCE) == hash_of(tmp_path, SOURCE)


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """Yield a folder that stands beside the built-in kernels: cab.kernels.planted."""
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "outer.py").write_text("from cab.kernels.planted.inner import g\n\nf = g\n")
    (folder / "inner.py").write_text("def g(x):\n    return x\n")
    monkeypatch.setattr(cab.kernels, "__path__", [*cab.kernels.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith("cab.kernels.planted")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "statement",
    [
        "from cab.kernels.planted.outer import f",
        "from cab.kernels.planted import outer",
        "import cab.kernels.planted.outer",
        "import cab.kernels.planted.outer as kernel",
        "def late():\n    from cab.kernels.planted.outer import f",
    ],
)
def test_a_change_of_a_kernel_it_uses_counts(tmp_path, kernels, statement):
    text = f"{statement}\n{SOURCE}"
    original = hash_of(tmp_path, text)
    (kernels / "inner.py").write_text("def g(x):\n    return x  # the same\n")
    assert hash_of(tmp_path, text) == original
    (kernels / "inner.py").write_text("def g(x):\n    return 2 * x\n")
    changed = hash_of(tmp_path, text)
    assert changed != original
    (kernels / "outer.py").write_text("from cab.kernels.planted.inner import g\n\nf = [g]\n")
    assert hash_of(tmp_path, text) != changed


def test_a_kernel_that_is_not_used_does_not_count(tmp_path, kernels):
    text = f"from cab.kernels.planted.inner import g\n{SOURCE}"
    original = hash_of(tmp_path, text)
    (kernels / "outer.py").write_text("f = None\n")
    assert hash_of(tmp_path, text) == original


def test_kernels_that_import_each_other_are_read_once(tmp_path, kernels):
    late = "def g():\n    from cab.kernels.planted.outer import f\n\n    return f\n"
    (kernels / "inner.py").write_text(late)
    assert len(hash_of(tmp_path, "from cab.kernels.planted.outer import f\n")) == 64


def test_built_in_variants_all_differ():
    hashes = {name: source_hash(entry.path) for name, entry in VARIANTS.entries.items()}
    assert len(set(hashes.values())) == len(hashes)


def test_the_card_does_not_count(tmp_path):
    card = '@register_variant(name="a", family="softmax", patterns="cs", summary="one")\nclass C:'
    text = f"from cab.registry import register_variant\n\n{card}\n    x = 1\n"
    original = hash_of(tmp_path, text)
    assert hash_of(tmp_path, text.replace('"one"', '"two"')) == original
    assert hash_of(tmp_path, text.replace("x = 1", "x = 2")) != original
