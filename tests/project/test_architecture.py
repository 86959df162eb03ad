"""The arrows between the parts run one way, and the tree keeps its house rules."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support import REPOSITORY

PACKAGES = {
    "cab": "cab",
    "cab.kernels": "kernels",
    "cab.site": "site",
    "cab.tasks": "tasks",
    "cab.variants": "variants",
}
"""Where each package stands in the tree; the longest name that fits a module counts."""

DATA = {"cab.results": "results"}
"""Folders without code that install beside the packages."""

ROOMS = (
    ("taxonomy", "inputs", "errors", "formula", "settings", "seeding", "profiles"),
    ("attention", "decoding", "registry"),
    ("backbones", "data"),
    ("task",),
    ("records",),
    ("conformance",),
    ("running",),
    ("tracking",),
    ("scores",),
    ("publishing",),
    ("analysis",),
    ("language_models",),
    ("measure",),
    ("site",),
    ("commands",),
    ("__main__",),
)
"""The modules and rooms of cab/, lowest first: none imports from above it."""

BACKBONES_MAY = {"cab.attention", "cab.taxonomy", "cab.errors", "cab.backbones"}
VARIANTS_MAY = {
    "cab.attention",
    "cab.decoding",
    "cab.errors",
    "cab.registry",
    "cab.taxonomy",
    "cab.kernels",
}
TASKS_MAY = {
    "cab.tasks",
    "cab.backbones",
    "cab.data",
    "cab.errors",
    "cab.registry",
    "cab.seeding",
    "cab.task",
    "cab.taxonomy",
}


def modules_of(package: str) -> dict[str, Path]:
    """The modules of a package's folder by dotted name."""
    root = REPOSITORY / PACKAGES[package]
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = {name: path for package in PACKAGES for name, path in modules_of(package).items()}
FILES = pytest.mark.parametrize("path", [pytest.param(p, id=n) for n, p in MODULES.items()])


def imports_of(path: Path) -> set[str]:
    """The modules of the project that a file imports anywhere, each as precisely as it says."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}, line {node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                found.add(deeper if deeper in MODULES else node.module)
    return {module for module in found if module.split(".")[0] == "cab"}


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def room_of(module: str) -> str:
    """The room of cab/ in which a module stands; a module of the contract is its own."""
    return module.split(".")[1]


def floor_of(module: str) -> int:
    for floor, rooms in enumerate(ROOMS):
        if room_of(module) in rooms:
            return floor
    raise AssertionError(f"{module} has no place in ROOMS, in this file")


CAB = {name: path for name, path in modules_of("cab").items() if name != "cab"}


@pytest.mark.parametrize("module", CAB)
def test_no_room_of_the_harness_imports_from_above_it(module):
    for imported in imports_of(CAB[module]) - {"cab"}:
        assert floor_of(imported) <= floor_of(module), f"{module} imports {imported}"


@pytest.mark.parametrize("module", CAB)
def test_the_harness_knows_no_variant_task_or_kernel_by_name(module):
    hidden = {"cab.variants", "cab.tasks", "cab.kernels"}
    assert not [name for name in imports_of(CAB[module]) if within(name, hidden)]
    for node in ast.walk(ast.parse(CAB[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"\bcab\.(variants|tasks|kernels)\.\w", node.value), module


def test_the_top_of_the_package_imports_nothing():
    assert imports_of(REPOSITORY / "cab" / "__init__.py") == set()


def test_commands_are_imported_by_the_entry_alone():
    importers = {
        name
        for name, path in MODULES.items()
        for imported in imports_of(path)
        if within(imported, {"cab.commands"}) and not within(name, {"cab.commands"})
    }
    assert importers == {"cab.__main__"}


def test_what_commands_share_imports_no_command():
    inner = ("cab.commands.common", "cab.commands.cells", "cab.commands.measurements")
    for module, path in CAB.items():
        for floor, room in enumerate(inner):
            if within(module, {room}):
                below = {*inner[:floor], room}
                commands = {n for n in imports_of(path) if within(n, {"cab.commands"})}
                assert not [n for n in commands if not within(n, below)], module


def test_the_rooms_form_no_circle():
    graph: dict[str, set[str]] = {}
    for module, path in CAB.items():
        others = {room_of(name) for name in imports_of(path) - {"cab"}} - {room_of(module)}
        graph.setdefault(room_of(module), set()).update(others)
    assert list(TopologicalSorter(graph).static_order())


def test_every_name_in_the_table_of_rooms_exists():
    there = {room_of(name) for name in CAB} | {"site"}
    assert sorted(there) == sorted(room for floor in ROOMS for room in floor)


def test_the_hall_of_cab_holds_the_contract_alone():
    loose = [path.stem for path in (REPOSITORY / "cab").glob("*.py")]
    assert len(loose) <= 12, loose


def test_every_room_has_a_sign_that_says_what_to_read_first():
    rooms = [path.parent for path in (REPOSITORY / "cab").glob("*/**/__init__.py")]
    assert len(rooms) > 10
    for room in rooms:
        sign = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert sign, room
        assert 2 <= len(sign.splitlines()) <= 8, room
        first = re.search(r"`(\w+)`[^.]*: read it first", sign)
        assert first, room
        assert (room / f"{first[1]}.py").exists(), room


def test_no_two_modules_import_each_other_in_a_ring():
    graph = {name: imports_of(path) for name, path in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", modules_of("cab.kernels"))
def test_kernels_import_nothing_of_the_project_but_kernels(module):
    assert not [n for n in imports_of(MODULES[module]) if not within(n, {"cab.kernels"})]


@pytest.mark.parametrize("module", modules_of("cab.variants"))
def test_variants_import_the_contract_kernels_and_parts_of_their_own_family(module):
    family = ".".join(module.split(".")[:3])
    for name in imports_of(MODULES[module]):
        shared = within(name, {family}) and name.split(".")[-1].startswith("_")
        assert shared or within(name, VARIANTS_MAY), name


@pytest.mark.parametrize("module", modules_of("cab.tasks"))
def test_tasks_import_backbones_and_data_only(module):
    assert not [n for n in imports_of(MODULES[module]) if not within(n, TASKS_MAY)]


@pytest.mark.parametrize("module", [name for name in CAB if within(name, {"cab.backbones"})])
def test_backbones_know_attention_and_nothing_else(module):
    assert not [n for n in imports_of(MODULES[module]) if not within(n, BACKBONES_MAY)]


@FILES
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@FILES
def test_only_commands_print(path):
    if REPOSITORY / "cab" / "commands" in path.parents:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"


@FILES
def test_no_file_touches_the_global_random_state(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not re.fullmatch(r"(np|numpy)\.random\.\w+|random\.\w+", called), called


def test_every_package_of_the_tree_is_installed():
    configured = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = configured["tool"]["setuptools"]["packages"]
    present = [name for name, path in MODULES.items() if path.name == "__init__.py"]
    assert sorted(packages) == sorted([*present, *DATA])
    assert configured["tool"]["setuptools"]["package-dir"] == PACKAGES | DATA


def test_a_folder_of_data_holds_no_code():
    for folder in DATA.values():
        assert not list((REPOSITORY / folder).rglob("*.py"))


def test_the_rules_can_fail(tmp_path):
    path = tmp_path / "planted.py"
    path.write_text(
        "def late():\n    from cab.variants.softmax import softmax\n    import cab.data\n"
    )
    assert imports_of(path) == {"cab.variants.softmax.softmax", "cab.data"}
    assert floor_of("cab.commands.run") > floor_of("cab.backbones.slots")
    path.write_text("from . import neighbour\n")
    with pytest.raises(AssertionError, match="imports are absolute"):
        imports_of(path)
