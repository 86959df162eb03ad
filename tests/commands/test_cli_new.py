"""`cab new`: writes files that run as they are, and never over one of the user's."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from cli_support import DATA, cab_here
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cab.commands import new
from cab.formula import evaluate
from cab.registry import Registry, discover_tasks, discover_variants
from cab.seeding import generator
from cab.task import IGNORED
from cab.taxonomy import Family, VariantCard

TAKEN = discover_variants().names()
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4}){0,2}", fullmatch=True)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_new_file_runs_on_all_patterns_by_the_command_that_is_printed(tmp_path: Path) -> None:
    said = cab_here("new", "variant", "my-thing")
    assert said.code == 0
    assert "Wrote my_thing.py" in said.err
    check, run = said.out.splitlines()
    assert shlex.split(check) == ["cab", "check", "my_thing.py"]
    command = shlex.split(run)
    assert command[:2] == ["cab", "run"]
    data = {"CAB_DATA": DATA} if DATA else {}
    ran = cab_here(*command[1:], "--tracking", "none", "--json", **data)
    assert ran.code == 0, ran.err
    cells = ran.document["cells"]
    assert {one["status"] for one in cells} == {"ok"}
    tasks = [card for card in discover_tasks().cards() if card.in_row("quick")]
    expected = {card.name for card in tasks if DATA or not card.data}
    assert {one["task"] for one in cells} == expected
    if DATA:
        assert {one["pattern"] for one in cells} == {"ns", "cs", "nc", "cc"}
    else:
        assert len(ran.document["left_out"]) == len(tasks) - len(expected)


def test_the_new_file_is_the_function_of_softmax(tmp_path: Path) -> None:
    cab_here("new", "variant", "my-thing")
    run = ("run", "--profile", "smoke", "--task", "mqar", "--tracking", "none", "--json")
    mine = ("--variant", "my-thing", "--variant", "softmax", "--include", "my_thing.py")
    one, two = cab_here(*run, *mine).document["cells"]
    assert one["test"] == two["test"]
    warm = cab_here(*run, *mine[:2], *mine[4:], "--set", "temperature=9").document["cells"]
    assert warm[0]["key"] != one["key"]
    same = cab_here(*run, *mine[:2], *mine[4:], "--set", "temperature=1").document["cells"]
    assert same[0]["key"] == one["key"]
    assert same[0]["state"] == "already done"


@pytest.mark.parametrize("kind", ["variant", "task"])
@pytest.mark.parametrize(
    "name",
    ["", "My-Thing", "my_thing", "9lives", "-x", "x-", "a--b", "a b", "../x", "x.py", "é", "a\nb"],
)
def test_a_name_that_is_none_is_refused_and_nothing_is_written(
    name: str, kind: str, tmp_path: Path
) -> None:
    said = cab_here("new", kind, "--", name)
    assert said.code == 2
    assert "lower-case letters, digits and single hyphens" in " ".join(said.err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def registry() -> Registry[VariantCard]:
    return discover_variants()


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_that_is_taken_is_refused_with_its_file(
    name: str, registry: Registry[VariantCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reading all files again for every name would take seconds.
    monkeypatch.setattr(new, "discover_variants", lambda: registry)
    said = cab_here("new", "variant", name)
    assert said.code == 2
    assert repr(name) in said.err
    assert registry.entry(name).path.name in "".join(said.err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["variant", "task"])
@pytest.mark.parametrize("option", [(), ("--file", "elsewhere.py")])
def test_an_existing_file_is_left_as_it_is(
    option: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / (option[1] if option else "my_thing.py")
    path.write_text("my work")
    said = cab_here("new", kind, "my-thing", *option)
    assert said.code == 2
    assert path.name in said.err
    assert "exists and was not changed" in said.err
    assert path.read_text() == "my work"
    assert cab_here("new", kind, "my-thing", "--file", "other.py").code == 0


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    said = cab_here("new", "variant", "my-thing", "--file", "gone/my_thing.py")
    assert said.code == 2
    assert "cannot be written" in said.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_family_is_refused_with_those_there_are(tmp_path: Path) -> None:
    said = cab_here("new", "variant", "my-thing", "--family", "jazz")
    assert said.code == 2
    assert all(family in said.err for family in Family)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, family=st.sampled_from(list(Family)), wrap=st.booleans())
def test_every_good_name_gives_a_file_that_registers_it(
    name: str, family: Family, wrap: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}-{family}-{wrap}.py"
    assume(name not in TAKEN and not path.exists())
    form = ("--wrap",) if wrap else ()
    said = cab_here("new", "variant", name, "--family", family, "--file", path, *form)
    assert said.code == 0, said.err
    registry = discover_variants((path,))
    card = registry.card(name)
    assert (card.name, card.family) == (name, family)
    assert len(card.patterns) == 4
    assert registry.load(name).__name__.endswith("Attention")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my-attention", "MyAttention"),
        ("myattention", "MyAttention"),
        ("my-thing", "MyThingAttention"),
        ("attention", "OwnAttention"),
        ("cached-attention", "OwnCachedAttention"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--wrap",)])
def test_the_class_is_named_after_the_variant(
    name: str, expected: str, form: tuple[str, ...], tmp_path: Path
) -> None:
    assert cab_here("new", "variant", name, "--file", "it.py", *form).code == 0
    assert f"\nclass {expected}(" in (tmp_path / "it.py").read_text()


def test_the_new_variant_says_how_a_card_tells_what_is_seen(tmp_path: Path) -> None:
    cab_here("new", "variant", "my-thing", "--file", "it.py")
    text = (tmp_path / "it.py").read_text()
    (formula,) = re.findall(r'sees="(abs\(.*?\).*?)"', text)
    path = tmp_path / "seen.py"
    path.write_text(
        text.replace("    # Which keys", f'    sees="{formula.replace("window", "8")}",\n    #')
    )
    card = discover_variants((path,)).card("my-thing")
    assert evaluate(card.sees, {"t": 9, "s": 1, "causal": True, "cross": False})
    assert not evaluate(card.sees, {"t": 11, "s": 1, "causal": True, "cross": False})


@pytest.mark.parametrize("law", ["padding", "causality", "gradients"])
def test_the_new_wrapper_holds_what_wrappers_break_first(law: str, tmp_path: Path) -> None:
    said = cab_here("new", "variant", "my-attention", "--wrap")
    assert said.code == 0
    check = shlex.split(said.out.splitlines()[0])
    ran = cab_here(*check[1:], "--law", law, "--pattern", "cs", "--dtype", "float64")
    assert ran.code == 0, ran.out


@pytest.mark.slow
def test_the_new_wrapper_passes_every_law(tmp_path: Path) -> None:
    cab_here("new", "variant", "my-attention", "--wrap")
    ran = cab_here("check", "my_attention.py")
    assert ran.code == 0, ran.out
    assert "All laws hold: 34 verdicts" in ran.out


def test_the_new_task_trains_by_the_command_that_is_printed(tmp_path: Path) -> None:
    said = cab_here("new", "task", "my-recall")
    assert said.code == 0
    assert "Wrote my_recall.py" in said.err
    command = shlex.split(said.out)
    assert command[:2] == ["cab", "run"]
    ran = cab_here(*command[1:], "--unchecked", "--tracking", "none", "--json")
    assert ran.code == 0, ran.err
    (cell,) = ran.document["cells"]
    assert (cell["task"], cell["status"]) == ("my-recall", "ok")
    assert set(cell["test"]) == {"accuracy"}
    length = len((tmp_path / "my_recall.py").read_text().splitlines())
    assert 60 <= length <= 100


def test_the_new_task_asks_for_what_was_read_and_its_card_says_so(tmp_path: Path) -> None:
    cab_here("new", "task", "my-recall")
    registry = discover_tasks((tmp_path / "my_recall.py",))
    assert registry.load("my-recall").__name__ == "MyRecallTask"
    made = registry.load("my-recall")
    for profile in ("smoke", "quick"):
        recipe = made.recipes[profile]
        batch = made(recipe).draw("train", 20, generator("drawn for tests", profile))
        asked = batch["targets"] != IGNORED
        assert asked.sum(dim=1).tolist() == [recipe.data.marked] * 20
        marked = batch["inputs"][:, : recipe.data.marked]
        assert torch.equal(batch["targets"][asked].view(20, -1), marked)
        assert bool((batch["inputs"][:, recipe.data.marked :] == 0).all())
    card = registry.card("my-recall")
    assert card.length == f"{made.recipes['quick'].data.length} tokens"
    assert card.chance == 1 / made.recipes["quick"].data.symbols


def test_a_tasks_name_that_is_taken_is_refused_with_its_file(tmp_path: Path) -> None:
    said = cab_here("new", "task", "mqar")
    assert said.code == 2
    assert "The task 'mqar' exists already" in said.err
    assert list(tmp_path.iterdir()) == []
