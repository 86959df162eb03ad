"""Certificates say what attention is worth on a task, seed by seed, and are kept beside it."""

import json
import math
from pathlib import Path

import pytest
from cli_support import cab_here, make_record
from support import REPOSITORY

from cab.analysis.certificates import certificate_path, certify, control_cells, read_certificate
from cab.errors import CabError
from cab.profiles import get_profile
from cab.registry import discover_tasks, discover_variants
from cab.scores.summary import student_t95

TASKS, VARIANTS = discover_tasks(), discover_variants()
SMALL = [name for name in TASKS.names() if "smoke" in TASKS.load(name).recipes]
FOLDER = REPOSITORY / "results" / "certificates"


def records(**values):
    return [
        make_record(f"{i:032x}", variant=name, seed=seed, value=value)
        for i, (name, seed, value) in enumerate(
            (name, seed, value) for name, vs in values.items() for seed, value in enumerate(vs)
        )
    ]


def test_the_margin_is_over_the_best_control_and_paired_by_seed():
    found = records(softmax=(0.9, 0.8, 0.7), none=(0.1, 0.1, 0.1), mean=(0.5, 0.2, 0.2))
    one = certify(TASKS.card("mqar"), "quick", "softmax", found)
    assert one.best_control == "mean"
    differences = [0.4, 0.6, 0.5]
    assert one.margin == pytest.approx(0.5)
    deviation = math.sqrt(sum((d - 0.5) ** 2 for d in differences) / 2)
    assert one.interval == pytest.approx(student_t95(2) * deviation / math.sqrt(3))
    assert one.holds == (0.5 - one.interval > one.asked)


def test_a_metric_that_is_better_low_turns_the_margin():
    found = records(softmax=(2.0, 2.2), none=(2.5, 2.6), mean=(2.4, 2.4))
    found = [r.model_copy(update={"task": r.task}) for r in found]
    card = TASKS.card("byte-lm")
    renamed = [
        r.model_copy(
            update={
                "metrics": r.metrics.model_copy(
                    update={"test": {card.metric: r.metrics.test["accuracy"]}}
                )
            }
        )
        for r in found
    ]
    one = certify(card, "quick", "softmax", renamed)
    assert one.best_control == "mean"
    assert one.margin == pytest.approx(0.3)


def test_one_seed_proves_nothing():
    one = certify(TASKS.card("mqar"), "quick", "softmax", records(softmax=(0.9,), none=(0.1,)))
    assert one.interval is None
    assert not one.holds


def test_a_failed_cell_leaves_no_certificate():
    found = [*records(softmax=(0.9,)), make_record("f" * 32, variant="none", status="oom")]
    with pytest.raises(CabError, match="none on mqar, seed 0, ended as oom"):
        certify(TASKS.card("mqar"), "quick", "softmax", found)


@pytest.mark.parametrize("name", SMALL)
def test_controls_are_the_roles_and_those_of_the_card(name):
    cells = control_cells(TASKS.card(name), get_profile("smoke"), 2, VARIANTS, TASKS)
    named = {cell.variant.name for cell in cells}
    assert {"softmax", "none", "mean"} <= named
    assert named == {"softmax", "none", "mean", *TASKS.card(name).controls}
    assert {cell.seed for cell in cells} == {0, 1}


def test_the_command_writes_a_certificate_and_exits_with_1_where_it_does_not_hold(tmp_path: Path):
    said = cab_here(
        *("certify", "mqar", "--profile", "smoke", "--seeds", "2", "--json"),
        *("--store", tmp_path / "store", "--out", tmp_path / "out"),
    )
    assert said.code == 1  # four steps teach nothing
    path = certificate_path(tmp_path / "out", "mqar", "smoke")
    assert said.document == [{"path": str(path), "holds": False}]
    content = read_certificate(path)
    assert content["seeds"] == 2
    assert {"softmax", "none", "mean"} <= content["values"].keys()


@pytest.mark.parametrize("name", [n for n in TASKS.names() if TASKS.card(n).scored_in("quick")])
def test_every_scored_task_has_a_certificate_that_holds_and_that_its_card_repeats(name):
    card = TASKS.card(name)
    content = read_certificate(certificate_path(FOLDER, name, "quick"))
    assert content["holds"]
    assert content["version"] == card.version
    assert content["seeds"] >= 3
    proof = card.certificate["quick"]
    assert (content["asked"], content["seeds"]) == (proof.margin, proof.seeds)
    means = {entry: sum(vs) / len(vs) for entry, vs in content["values"].items()}
    for entry, value in proof.measured.items():
        assert value == pytest.approx((means | content["shortcuts"])[entry], abs=2e-3), entry


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mqar", "mqar-cross"])
def test_a_retrained_sample_gives_what_the_certificate_says(name, tmp_path: Path):
    content = read_certificate(certificate_path(FOLDER, name, "quick"))
    said = cab_here(
        *("run", "--variant", "softmax", "--variant", "mean", "--task", name),
        *("--tracking", "none", "--store", tmp_path, "--json"),
    )
    assert said.code == 0
    found = {
        cell["variant"]: cell["test"][content["metric"]]["value"]
        for cell in said.document["cells"]
    }
    # Another machine rounds otherwise, and training strays from there.
    expected = {entry: content["values"][entry][0] for entry in ("softmax", "mean")}
    assert found == pytest.approx(expected, abs=0.05)


def test_certificates_are_canonical():
    for path in FOLDER.rglob("*.json"):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
