"""The source hash covers what a variant's file imports, and the card and words that it reads."""

import ast
import hashlib
import json

import pytest
from plug_ins import HEAD, source, write
from support import REPOSITORY, VARIANTS

from cab.records.sources import Sources, source_hash

ONE, OTHER = "factor = 1.0\n", "factor = -50.0\n"


def changes(folder, main, changed, text=OTHER):
    """Whether a new text of a file changes the hash of the main file, and the known hash too."""
    sources = Sources()
    before = source_hash(folder / main)
    assert sources.hash(folder / main) == before
    write(folder, {changed: text})
    after = source_hash(folder / main)
    assert sources.hash(folder / main) == after
    return before != after


@pytest.mark.parametrize(
    "statement",
    [
        "from myattn.core import factor",
        "from .core import factor",
        "from .core import *",
        "from . import core\nfactor = core.factor",
        "from myattn import core\nfactor = core.factor",
        "import myattn.core as c\nfactor = c.factor",
        "import myattn.core\nfactor = myattn.core.factor",
        "import importlib\nfactor = importlib.import_module('myattn.core').factor",
        "from importlib import import_module as load\nfactor = load('.core', __package__).factor",
        "factor = __import__('myattn.core').core.factor",
        "import myattn\nfactor = myattn.core.factor",
        "from myattn import *\nfactor = core.factor",
        "def late():\n    from .core import factor\n    return factor",
        "try:\n    from .core import factor\nexcept ImportError:\n    factor = 1.0",
    ],
)
def test_a_module_of_a_plug_in_counts(tmp_path, statement):
    write(
        tmp_path,
        {
            "myattn/__init__.py": "__all__ = ['core']\n",
            "myattn/core.py": ONE,
            "myattn/other.py": ONE,
            "myattn/attn.py": source(statement),
        },
    )
    assert not changes(tmp_path, "myattn/attn.py", "myattn/other.py")
    assert not changes(tmp_path, "myattn/attn.py", "myattn/core.py", "factor = 1.0  # one\n")
    assert changes(tmp_path, "myattn/attn.py", "myattn/core.py")


@pytest.mark.parametrize("changed", ["__init__.py", "deep/__init__.py", "deep/far.py", "near.py"])
def test_what_the_imported_modules_import_counts(tmp_path, changed):
    files = {
        "__init__.py": "",
        "attn.py": source("from .deep.far import factor"),
        "deep/__init__.py": "",
        "deep/far.py": "from ..near import factor\n",
        "near.py": ONE,
    }
    write(tmp_path, {f"myattn/{name}": text for name, text in files.items()})
    assert changes(tmp_path, "myattn/attn.py", f"myattn/{changed}")


def test_modules_of_a_namespace_package_count(tmp_path):
    write(tmp_path, {"space/mine/core.py": ONE})
    write(tmp_path, {"space/mine/attn.py": source("from space.mine.core import factor")})
    assert changes(tmp_path, "space/mine/attn.py", "space/mine/core.py")


def test_modules_that_appear_or_are_compiled_count(tmp_path):
    late = "try:\n    from .core import factor\nexcept ImportError:\n    factor = 1.0"
    write(tmp_path, {"myattn/__init__.py": "", "myattn/attn.py": source(late)})
    assert changes(tmp_path, "myattn/attn.py", "myattn/core.py")
    (tmp_path / "myattn/core.py").unlink()
    assert changes(tmp_path, "myattn/attn.py", "myattn/core.abi3.so", "one build")
    assert changes(tmp_path, "myattn/attn.py", "myattn/core.abi3.so", "another build")


def test_a_module_that_is_not_python_counts_by_its_text(tmp_path):
    files = {"myattn/__init__.py": "", "myattn/core.py": "factor = ("}
    write(tmp_path, {**files, "myattn/attn.py": source("from .core import factor")})
    assert changes(tmp_path, "myattn/attn.py", "myattn/core.py", "factor = [")


def test_other_installed_packages_do_not_count(tmp_path):
    record = "theirs/__init__.py,,\ntheirs/core.py,,\n"
    write(
        tmp_path,
        {
            "theirs-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n",
            "theirs-1.0.dist-info/RECORD": record,
            "theirs/__init__.py": "",
            "theirs/core.py": ONE,
            "attn.py": source("from theirs.core import factor"),
        },
    )
    assert not changes(tmp_path, "attn.py", "theirs/core.py")


def test_packages_of_the_same_distribution_count(tmp_path):
    write(
        tmp_path,
        {
            "mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
            "mine-1.0.dist-info/RECORD": "mine/__init__.py,,\nmine_core.py,,\n",
            "mine/__init__.py": "",
            "mine_core.py": ONE,
            "mine/attn.py": source("from mine_core import factor"),
        },
    )
    assert changes(tmp_path, "mine/attn.py", "mine_core.py")


@pytest.mark.parametrize(
    ("statement", "helper"),
    [
        ("from helper import factor", "helper.py"),
        ("import sys\nsys.path.insert(0, 'lib')\nfrom helper import factor", "lib/helper.py"),
        ("from helper.inner import factor", "helper/inner.py"),
        (
            "import sys\nfrom pathlib import Path\n"
            "sys.path.append(str(Path(__file__).parent.parent))\nfrom helper import factor",
            "../helper.py",
        ),
        (
            "from importlib import util\nfrom pathlib import Path\n"
            "spec = util.spec_from_file_location('h', Path(__file__).with_name('helper.py'))\n"
            "helper = util.module_from_spec(spec)\nspec.loader.exec_module(helper)\n"
            "factor = helper.factor",
            "helper.py",
        ),
        (
            "import runpy\nfrom pathlib import Path\n"
            "factor = runpy.run_path(Path(__file__).parent / 'lib' / 'helper.py')['factor']",
            "lib/helper.py",
        ),
    ],
)
def test_a_helper_beside_an_included_file_counts(tmp_path, statement, helper):
    folder = tmp_path / "mine"
    write(folder, {"mine.py": source(statement), helper: ONE, "unused.py": ONE})
    assert not changes(folder, "mine.py", "unused.py")
    assert changes(folder, "mine.py", helper)


def test_the_hash_does_not_depend_on_the_place_of_a_package(tmp_path):
    files = {"myattn/__init__.py": "", "myattn/core.py": ONE}
    files["myattn/attn.py"] = source("from myattn.core import factor")
    for place in ("one", "another/place"):
        write(tmp_path / place, files)
    one, other = (tmp_path / place / "myattn/attn.py" for place in ("one", "another/place"))
    assert source_hash(one) == source_hash(other)


OWN = "def my_register_variant(scale):\n    return lambda one: setattr(one, 's', scale) or one\n"


@pytest.mark.parametrize(
    ("imports", "decorator", "counts"),
    [
        ("from cab.registry import register_variant", "register_variant", False),
        ("from cab.registry import register_variant as register", "register", False),
        ("import cab.registry as r", "r.register_variant", False),
        ("import cab.registry", "cab.registry.register_variant", False),
        ("from cab import registry", "registry.register_variant", False),
        (OWN, "my_register_variant", True),
        ("from elsewhere import register_variant", "register_variant", True),
        ("from elsewhere import x as register_variant", "register_variant", True),
        (OWN.replace("my_", ""), "register_variant", True),
        (
            "from cab.registry import register_variant\n" + OWN.replace("my_", ""),
            "register_variant",
            True,
        ),
    ],
)
def test_only_the_card_of_cabs_own_decorator_does_not_count(tmp_path, imports, decorator, counts):
    text = f"{imports}\n\n\n@{decorator}(scale=1.0)\nclass C:\n    x = 1\n"
    write(tmp_path, {"mine.py": text})
    assert changes(tmp_path, "mine.py", "mine.py", text.replace("1.0", "9.0")) == counts


@pytest.mark.parametrize(
    ("reads", "budget", "summary"),
    [
        ("self.scale", False, False),
        ("self.card.budget", True, False),
        ("type(self).card.budget", True, False),
        ("use(self.card)", True, True),
        ("getattr(self, 'card').budget", True, True),
    ],
)
def test_fields_of_the_card_that_code_reads_count(tmp_path, reads, budget, summary):
    card = '@register_variant(name="a", summary="one", budget="two")'
    text = f"{HEAD}\n\n{card}\nclass C:\n    def f(self):\n        return {reads}\n"
    for old, counts in (("two", budget), ("one", summary)):
        write(tmp_path, {"mine.py": text})
        assert changes(tmp_path, "mine.py", "mine.py", text.replace(old, "three")) == counts


@pytest.mark.parametrize(
    ("reads", "docstring", "comment"),
    [
        ("1.0", False, False),
        ("float(C.__doc__)", True, False),
        ("float(inspect.getdoc(C))", True, False),
        ("float(getattr(C, '__doc__'))", True, False),
        ("inspect.getsource(C)", True, True),
    ],
)
@pytest.mark.parametrize("where", ["mine.py", "helper.py"])
def test_words_that_code_reads_count(tmp_path, where, reads, docstring, comment):
    text = 'import inspect\n\n\nclass C:\n    """1.0"""\n\n    x = 1  # one\n'
    read = f"import inspect\nfrom mine import C\nfactor = {reads}\n"
    own = read.replace("from mine import C\n", "") if where == "mine.py" else ""
    text += f"\n\nfrom helper import factor\n{own}"
    for old, counts in (("1.0", docstring), ("# one", comment)):
        write(tmp_path, {"helper.py": read if where == "helper.py" else ONE, "mine.py": text})
        new = text.replace(old, "# 7.0" if old == "# one" else "7.0", 1)
        assert changes(tmp_path, "mine.py", "mine.py", new) == counts


def hash_before_imports_were_followed(path):
    """The first form of the hash, by which results were published: CAB's own imports alone."""
    found, waiting = {}, [("", path)]
    while waiting:
        name, file = waiting.pop()
        if name in found:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                node.decorator_list = [
                    one
                    for one in node.decorator_list
                    if "register_variant(" not in ast.unparse(one)
                ]
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        found[name] = ast.dump(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for one in names:
                if one.startswith(("cab.kernels", "cab.variants")):
                    inside = REPOSITORY.joinpath(*one.split(".")[1:])
                    files = (inside.with_suffix(".py"), inside / "__init__.py")
                    waiting += [(one, file) for file in files if file.is_file()][:1]
    text = "\n".join(found[name] for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_hashes_by_which_results_were_published_stay():
    """Results hold the hash of their source, so that of an unchanged variant must not change."""
    hashes = {name: source_hash(entry.path) for name, entry in VARIANTS.entries.items()}
    first = {
        name: hash_before_imports_were_followed(entry.path)
        for name, entry in VARIANTS.entries.items()
    }
    assert len(hashes) > 90
    assert hashes == first
    for name in ("softmax", "none"):
        lines = (REPOSITORY / "results" / "quick" / f"{name}.jsonl").read_text().splitlines()
        published = {json.loads(line)["variant"]["source_hash"] for line in lines}
        assert published == {hashes[name]}
