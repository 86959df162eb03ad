"""The registry finds every card without running a file, and names what cannot be found."""

import keyword
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from support import VARIANTS

from cab.errors import CabError, UnknownName
from cab.registry import discover_tasks, discover_variants
from cab.task import Task
from cab.taxonomy import Pattern, Role

TASKS = discover_tasks()
BUILT_IN = [(VARIANTS, name) for name in VARIANTS.names()] + [(TASKS, n) for n in TASKS.names()]

SOURCE = """
import torch
from cab.attention import Attention
from cab.registry import register_variant

@register_variant(name="mine", family="linear", patterns="cs ns", summary="for this test")
class Mine(Attention):
    pass
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and gives its path."""

    def write_file(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.mark.parametrize(("registry", "name"), BUILT_IN)
def test_a_card_read_from_the_text_is_the_class_s_own(registry, name):
    assert registry.load(name).card == registry.card(name)


@pytest.mark.parametrize(("registry", "name"), BUILT_IN)
def test_a_file_stands_in_the_folder_of_its_family_or_domain(registry, name):
    card, path = registry.card(name), registry.entry(name).path
    folder = registry.entry(name).module.split(".")[2]  # it may lie in a folder of that one
    assert folder == (card.domain if registry is TASKS else card.family)
    module = name.replace("-", "_")
    assert path.stem == (f"{module}_" if keyword.iskeyword(module) else module)


def test_every_file_of_the_built_in_folders_registers_one_name():
    for registry in (VARIANTS, TASKS):
        root = Path(os.path.commonpath([entry.path for entry in registry.entries.values()]))
        files = [path for path in root.rglob("*.py") if path.name[0] != "_"]
        assert sorted(files) == sorted(entry.path for entry in registry.entries.values())


def test_cards_claim_only_what_can_be():
    references = [card.name for card in VARIANTS.cards() if card.role == "reference"]
    assert references == ["softmax"]
    for card in VARIANTS.cards():
        assert card.role in get_args(Role)
        assert card.patterns
        assert set(card.extended) <= set(card.patterns)
        assert card.exact == (card.role in ("reference", "reimplementation"))
        assert card.time
        assert card.memory
        assert card.role in ("control", "no_attention") or (card.paper and card.year)


def test_the_reference_fills_every_pattern_and_every_pattern_has_a_task():
    assert VARIANTS.card("softmax").patterns == tuple(Pattern)
    assert {card.pattern for card in TASKS.cards()} == set(Pattern)


def test_tasks_register_tasks_with_recipes_for_the_embedded_profiles():
    for name in TASKS.names():
        task = TASKS.load(name)
        assert issubclass(task, Task)
        profiles = set(task.recipes)
        # A column of a published table has that paper's size at least.
        published = {"full"} if task.card.suites else {"standard", "full"}
        assert {"smoke", "quick"} <= profiles or published <= profiles


@pytest.mark.parametrize(
    ("registry", "name", "hint"),
    [
        (VARIANTS, "softmx", "There is no variant called 'softmx'. Did you mean softmax"),
        (VARIANTS, "liner", "Did you mean linear"),
        (VARIANTS, "qqqq", "`cab list` names them."),
        (TASKS, "mqra", "There is no task called 'mqra'. Did you mean mqar?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(registry, name, hint):
    for ask in (registry.entry, registry.card, registry.load):
        with pytest.raises(UnknownName) as refusal:
            ask(name)
        assert hint in str(refusal.value)
        assert refusal.value.name == name


def test_listing_imports_neither_torch_nor_the_listed(tmp_path):
    script = (
        "import sys; from cab.registry import discover_tasks, discover_variants;"
        "v = discover_variants(); t = discover_tasks();"
        "assert v.cards() and t.cards();"
        "loaded = [m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules];"
        "loaded += [e.module for r in (v, t) for e in r.entries.values()"
        " if e.module in sys.modules];"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_an_included_file_is_listed_and_loaded(write):
    path = write(SOURCE)
    registry = discover_variants((path,))
    assert registry.names() == sorted([*VARIANTS.names(), "mine"])
    assert registry.card("mine").patterns == (Pattern.NS, Pattern.CS)
    loaded = registry.load("mine")
    assert loaded.card == registry.card("mine")
    assert registry.load("mine") is loaded


def test_the_same_file_may_be_included_twice(write):
    path = write(SOURCE)
    again = path.parent / ".." / path.parent.name / path.name
    assert "mine" in discover_variants((path, path, again)).names()


def test_files_of_one_name_in_two_folders_are_two_modules(write, tmp_path):
    (tmp_path / "other").mkdir()
    first = write(SOURCE)
    second = write(SOURCE.replace('"mine"', '"other"'), "other/mine.py")
    registry = discover_variants((first, second))
    assert registry.load("mine") is not registry.load("other")


def test_a_name_is_registered_by_one_file_only(write):
    included = write(SOURCE.replace('"mine"', '"softmax"'))
    with pytest.raises(CabError) as refusal:
        discover_variants((included,))
    message = str(refusal.value)
    assert "Two files register the variant 'softmax'" in message
    assert str(included) in message
    assert str(VARIANTS.entry("softmax").path) in message
    with pytest.raises(CabError, match=r"Two files register the variant 'mine'.*Rename one"):
        discover_variants((write(SOURCE, "one.py"), write(SOURCE, "two.py")))


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "absent.py", tmp_path):
        with pytest.raises(CabError, match=f"^--include {path}: there is no such file"):
            discover_variants((path,))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("import absent_module", r"ModuleNotFoundError: No module named 'absent_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise KeyError('k')", "KeyError: 'k'"),
        ("assert False, 'why'", "AssertionError: why"),
    ],
)
def test_a_file_that_fails_to_import_is_named_with_its_line(write, statement, said):
    path = write(f"\n\n{statement}\n{SOURCE}")
    registry = discover_variants((path,))
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(CabError) as refusal:
            registry.load("mine")
        assert f"{path}, line 3, cannot be imported: {said}" in str(refusal.value)


def test_a_card_on_no_class_of_the_module_is_refused(write):
    path = write(SOURCE + "\ndel Mine\n")
    with pytest.raises(CabError, match="the imported module has no class with that card"):
        discover_variants((path,)).load("mine")
