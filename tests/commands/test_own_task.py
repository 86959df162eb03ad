"""A task of one's own file, as `cab new task` writes it, works with the commands of CAB's own."""

from pathlib import Path

import pytest
import torch
from cli_support import cab_here

from cab.attention import build_attention
from cab.backbones.slots import Slots
from cab.registry import discover_tasks, discover_variants
from cab.running.fitting import stated_lengths
from cab.task import LONGEST, Task

NAME = "my-recall"
SMOKE = ("--profile", "smoke")
TASKS = discover_tasks()
SOFTMAX = discover_variants().load("softmax")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the command writes, in the folder where the test works."""
    monkeypatch.chdir(tmp_path)
    assert cab_here("new", "task", NAME).code == 0
    return tmp_path / "my_recall.py"


def test_a_task_of_ones_own_is_certified_probed_and_tested_at_other_lengths(own: Path) -> None:
    what = ("--include", own, "--store", "store", "--json")
    said = cab_here("certify", NAME, *SMOKE, "--seeds", 2, "--out", "out", *what)
    assert said.code == 1, said.err  # four steps teach nothing
    assert said.document == [{"path": f"out/smoke/{NAME}.json", "holds": False}]
    on = ("--variant", "linear", "--task", NAME, "--unchecked")
    probed = cab_here("probe", *on, *SMOKE, "--examples", 4, *what)
    assert probed.code == 0, probed.err
    assert probed.document["cell"] == f"linear on {NAME} (cs), seed 0"
    assert set(probed.document["heads"]["entropy"]) == {"layers.0.self_attention"}
    shown = cab_here("show", *SMOKE, *what)
    assert {row["variant"] for row in shown.document["rows"]} == {
        *("softmax", "mean", "none", "linear"),
    }


def test_a_card_that_states_another_length_than_the_recipe_builds_is_refused(own: Path) -> None:
    own.write_text(own.read_text().replace('length="64 tokens"', 'length="60 to 1,065 tokens"'))
    sentence = (
        f'The card of {NAME} states the length "60 to 1,065 tokens", but its recipe builds '
        f"attention for sequences of up to 64."
    )
    for command in ("run", "sweep"):
        on = ("--variant", "mean", "--task", NAME, "--include", own, "--store", "store")
        said = cab_here(command, *on, *SMOKE, "--tracking", "none")
        assert said.code == 2
        assert sentence in " ".join(said.err.split())
    said = cab_here("certify", NAME, *SMOKE, "--include", own, "--store", "store", "--out", "out")
    assert said.code == 2
    assert sentence in " ".join(said.err.split())


@pytest.mark.parametrize("length", ["32 to 64 tokens", "as long as it takes"])
def test_a_card_may_state_the_length_in_its_own_words(own: Path, length: str) -> None:
    own.write_text(own.read_text().replace("64 tokens", length))
    on = ("--variant", "mean", "--task", NAME, "--include", own, "--store", "store")
    assert cab_here("run", *on, *SMOKE, "--dry-run", "--json").code == 0


@pytest.mark.parametrize("name", TASKS.names())
def test_every_card_states_the_longest_sequence_of_its_recipe(name: str) -> None:
    loaded = TASKS.load(name)
    assert issubclass(loaded, Task)
    # A card speaks of quick, and of a larger profile where there is no quick.
    first = next(one for one in ("quick", "standard", "full") if one in loaded.recipes)
    task = loaded(loaded.recipes[first])

    def fill(**geometry):
        return build_attention(SOFTMAX, {}, **geometry)

    slots = Slots(task.card.pattern, fill, fill, stretch=LONGEST if task.at_lengths() else 1)
    with torch.device("meta"):  # networks of the papers' sizes take no memory there
        task.build(slots)
    longest = max(attention.train_length for attention in slots.tested)
    assert longest in stated_lengths(task.card), (task.card.length, longest)
