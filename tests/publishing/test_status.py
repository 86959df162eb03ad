"""What reruns make of a row: each status, and its limits."""

from typing import Any

import pytest
from cli_support import make_record
from made_records import made

from cab.publishing.status import (
    AGREES,
    TOLERATED,
    OverSeeds,
    Rerun,
    compare,
    judged,
    reproduced,
    seeds_together,
    status_of,
    to_follow,
)
from cab.records.results import Verification
from cab.scores.normalise import Scale

SCALE = Scale(floor=0.2, top=0.7)


def run(published: float = 0.5, value: float = 0.5, key: str = "a" * 32) -> Verification:
    fields: dict[str, Any] = {"task": "mqar", "seed": 0, "git_revision": None}
    return Verification(
        key=key, published=published, value=value, environment=make_record().environment, **fields
    )


def away(*differences: float) -> list[Rerun]:
    return [Rerun(run(), one) for one in differences]


@pytest.mark.parametrize(
    ("value", "difference", "agreement"),
    [
        (0.5, 0.0, "agrees"),
        (0.5095, 0.019, "agrees"),
        (0.4895, 0.021, "tolerated"),
        (0.5495, 0.099, "tolerated"),
        (0.4495, 0.101, "differs"),
        (1.0, 1.0, "differs"),
    ],
)
def test_a_difference_is_measured_on_the_task_s_scale(
    value: float, difference: float, agreement: str
) -> None:
    found = compare(run(0.5, value), "accuracy", SCALE)
    assert found.difference == pytest.approx(difference)
    assert found.agreement == agreement
    turned = compare(run(0.5, value), "bits_per_byte", Scale(floor=0.7, top=0.2))
    assert turned.difference == pytest.approx(difference)


def test_without_a_scale_the_range_is_the_unit_or_else_the_value() -> None:
    assert compare(run(0.5, 0.51), "accuracy", None).difference == pytest.approx(0.01)
    assert compare(run(50, 51), "rouge_1", None).difference == pytest.approx(0.01)
    assert compare(run(2.0, 2.1), "bits_per_byte", None).difference == pytest.approx(0.05)
    assert compare(run(0.0, 0.0), "bits_per_byte", None).agreement == "agrees"
    assert compare(run(0.0, 0.1), "bits_per_byte", None).agreement == "differs"


def test_one_in_ten_may_be_off_and_none_may_differ() -> None:
    assert (AGREES, TOLERATED) == (0.02, 0.1)
    assert reproduced(away(0.02))
    assert reproduced(away(0.1))
    assert not reproduced(away(0.05, 0.05))
    assert reproduced(away(0.05, 0.05, 0, 0))  # by binomial chance one honest row in 19
    assert not reproduced(away(0.05, 0.05, 0.05, 0, 0, 0))
    assert reproduced(away(*[0.05] * 3, *[0.0] * 17))
    assert not reproduced(away(*[0.05] * 5, *[0.0] * 15))
    assert not reproduced(away(*[0.0] * 99, 0.11))
    assert reproduced([])


def test_each_status() -> None:
    keys = {"mqar": ["a", "b"], "mirror": ["c"]}

    def status(**differences: float) -> str:
        return status_of(keys, {key: Rerun(run(), one) for key, one in differences.items()})

    assert status() == "self-reported"
    assert status(z=0.0) == "self-reported"
    assert status(a=0.0) == "smoke-checked"
    assert status(a=0.0, b=0.01) == "smoke-checked"
    assert status(a=0.0, c=0.02) == "verified"
    assert status(a=0.0, c=0.09) == "verified"
    assert status(a=0.09, c=0.09) == "not reproduced"
    assert status(a=0.0, b=0.0, c=0.96) == "not reproduced"
    assert status(c=0.96) == "not reproduced"


TOGETHER = [frozenset("abc"), frozenset("de")]


def elsewhere(**above: float) -> dict[str, Rerun]:
    return {key: Rerun(run(), one, elsewhere=True) for key, one in above.items()}


def test_on_another_kind_of_processor_the_mean_over_the_seeds_counts_where_one_differs() -> None:
    found = judged(elsewhere(a=-0.16, b=0.01, c=0.03), TOGETHER)
    assert isinstance(found["a"], OverSeeds)
    assert found["a"] is found["b"] is found["c"]
    assert found["a"].difference == pytest.approx(0.04)
    assert (found["a"].seeds, found["a"].agreement) == (3, "tolerated")
    assert reproduced(found.values())
    assert not reproduced(judged(elsewhere(a=-0.3, b=-0.1, c=0.06), TOGETHER).values())
    # It counts once, not once for each of its seeds.
    assert reproduced(judged(elsewhere(a=-0.12, b=-0.07, c=0.01), TOGETHER).values())


def test_each_rerun_counts_where_seeds_are_missing_none_differs_or_the_processor_is_the_same() -> (
    None
):
    some = elsewhere(a=-0.16, b=0.01)
    assert judged(some, TOGETHER) == some
    assert not reproduced(judged(some, TOGETHER).values())
    close = elsewhere(a=-0.09, b=0.01, c=0.03)
    assert judged(close, TOGETHER) == close
    same = {key: Rerun(run(), one) for key, one in {"a": -0.16, "b": 0.0, "c": 0.0}.items()}
    assert judged(same, TOGETHER) == same
    mixed = elsewhere(a=-0.16, b=0.0) | {"c": Rerun(run(), 0.0)}
    assert judged(mixed, TOGETHER) == mixed


def test_the_other_seeds_follow_where_a_rerun_elsewhere_differs() -> None:
    assert to_follow(elsewhere(a=0.2, d=0.05), TOGETHER) == {"b", "c"}
    assert to_follow(elsewhere(a=0.2, b=0.0, c=0.0), TOGETHER) == frozenset()
    assert to_follow({"a": Rerun(run(), 0.2)}, TOGETHER) == frozenset()


def test_seeds_that_a_mean_is_over_are_those_at_one_rate() -> None:
    records = made("softmax", "mqar", (0.9, 0.8, 0.7))
    few = made("softmax", "parity", (0.9, 0.8))
    (one,) = seeds_together([*records, *few])
    assert one == {record.key for record in records}
    failed = [*records[:2], records[2].model_copy(update={"status": "timeout"})]
    assert seeds_together(failed) == []
