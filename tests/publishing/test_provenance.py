"""References and controls come from a commit and one machine, and were rerun on another."""

import pytest
from made_records import made
from support import REPOSITORY

from cab.publishing.provenance import RULER, machine_of, ruler_findings, tree_findings, tree_of
from cab.publishing.validation import trace, validate
from cab.records.results import Verification, read_results
from cab.records.store import Record
from cab.registry import discover_tasks, discover_variants
from cab.taxonomy import Role

RECORDS, RERUNS, _ = read_results(REPOSITORY / "results", "quick")
ROLES = {card.name: card.role for card in discover_variants().cards()}


def ruler() -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in RECORDS:
        if ROLES[record.variant.name] in RULER:
            found.setdefault(record.variant.name, []).append(record)
    return found


def test_published_references_come_from_a_commit_and_one_machine_and_were_rerun_elsewhere() -> (
    None
):
    own = ruler()
    assert {"softmax", "none", "mean"} <= own.keys()
    for name, records in own.items():
        assert [record.key for record in records if tree_of(record)] == [], name
        assert [text for _, text in ruler_findings(records, RERUNS, ROLES[name])] == [], name


def with_tree(record: Record, revision: str | None, dirty: bool | None) -> Record:
    provenance = record.provenance.model_copy(
        update={"git_revision": revision, "git_dirty": dirty}
    )
    return record.model_copy(update={"provenance": provenance})


@pytest.mark.parametrize(
    ("role", "severity"),
    [
        ("reference", "error"),
        ("no_attention", "error"),
        ("control", "error"),
        ("entry", "look"),
        (None, "look"),
    ],
)
def test_a_new_violation_is_an_error_for_references_and_a_look_for_others(
    role: Role | None, severity: str
) -> None:
    (one, other, third) = made("softmax", "mqar", (0.9, 0.9, 0.9))
    sound = with_tree(one, "a" * 40, False)
    records = [sound, with_tree(other, "a" * 40, True), with_tree(third, None, None)]
    found = list(tree_findings(records, role))
    assert [kind for kind, _ in found] == [severity, severity]
    assert records[1].key in found[0][1]
    assert records[2].key in found[1][1]
    assert list(tree_findings([sound], role)) == []


def test_what_a_reference_lacks_is_no_reason_not_to_rerun_it() -> None:
    path = REPOSITORY / "results" / "quick" / "none.jsonl"
    found = trace(path, discover_variants(), [])
    assert {one.severity for one in found} == {"error"}
    assert any("no record of it was rerun" in one.message for one in found)
    stopping = validate(path, discover_variants(), discover_tasks(), RECORDS)
    assert [one for one in stopping if one.severity == "error"] == []


def elsewhere(record: Record, cpu: str) -> Record:
    environment = record.environment.model_copy(update={"cpu": cpu})
    return record.model_copy(update={"environment": environment})


def test_a_reference_needs_one_kind_of_machine_and_a_rerun_on_another() -> None:
    records = [elsewhere(one, "A") for one in made("none", "mqar", (0.1, 0.1))]

    def rerun(cpu: str, key: str = records[0].key) -> Verification:
        return Verification(
            key=key, task="mqar", seed=0, published=0.1, value=0.1, git_revision=None,
            environment=elsewhere(records[0], cpu).environment,
        )  # fmt: skip

    def texts(own: list[Record], *runs: Verification, role: Role = "no_attention") -> list[str]:
        return [text for _, text in ruler_findings(own, runs, role)]

    assert texts(records, rerun("B")) == []
    assert texts(records) == ["no record of it was rerun on a kind of machine other than A"]
    assert texts(records, rerun("A")) == texts(records)
    assert texts(records, rerun("B", "f" * 32)) == texts(records)
    both = [records[0], elsewhere(records[1], "C")]
    assert texts(both, rerun("B")) == ["its records come from more than one kind of machine: A, C"]
    assert texts(both, role="entry") == []
    assert machine_of(records[0]) == "A"
