"""What reruns make of a row: each status, and its limits."""

from typing import Any

import pytest
from cli_support import make_record

from cab.publishing.status import AGREES, TOLERATED, Rerun, compare, reproduced, status_of
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
