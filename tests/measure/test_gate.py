"""Every implementation passes the gate; planted faults do not, before timing or after."""

import pytest
import torch
from measure_support import known_as, planted, point, rows_of

from cab.errors import Unsupported
from cab.measure.built import build
from cab.measure.gate import Wrong, check_implementation, check_timed
from cab.measure.operators import get_operator, make_case, operators
from cab.measure.passes import Passage
from cab.measure.points import MechanismName, sizes

IMPLEMENTATIONS = [
    (operator.name, implementation)
    for operator in operators().values()
    for implementation in operator.implementations
]
POINTS = {
    "square": point(length=41),
    "noncausal": point(length=41, pattern="ns"),
    "cross": point(length=41, pattern="nc", keys=29),
    "rectangle": point(length=23, keys=41),
    "rectangle, top left": point(length=23, keys=41, alignment="top_left"),
    "tall rectangle": point(length=41, keys=23),
    "window": point(length=41, window=6),
    "window, noncausal": point(length=41, window=6, pattern="ns"),
    "window on a picture": point(length=45, window=4, pattern="ns"),
    "grouped": point(length=41, heads=6, key_heads=2),
    "decode": point("decode", length=41, keys=41),
    "one token": point(length=1),
    "double": point(length=41, dtype="float64"),
    "half": point(length=41, dtype="bfloat16"),
}


@pytest.mark.parametrize("where", POINTS)
@pytest.mark.parametrize(("operator", "implementation"), IMPLEMENTATIONS)
def test_every_implementation_is_right_wherever_it_can_run(operator, implementation, where):
    name = MechanismName(implementation, operator)
    known = get_operator(operator)
    try:
        known.choose(implementation, make_case(**sizes(POINTS[where])))
    except ValueError:
        with pytest.raises(
            Unsupported, match=f"^{operator}:{implementation} cannot run this case: "
        ):
            check_implementation(name, POINTS[where], "test")
        return
    checked = check_implementation(name, POINTS[where], "test")
    assert checked is not None
    assert checked.error <= checked.limit


def test_softmax_is_offered_in_every_one_of_these_places_but_where_a_window_is_asked_for():
    for where, at in POINTS.items():
        for implementation in ("eager", "chunked", "sdpa"):
            name = MechanismName(implementation, "softmax")
            if implementation == "chunked" and "window" in where:
                with pytest.raises(Unsupported, match="it takes no window"):
                    check_implementation(name, at, "test")
            else:
                assert check_implementation(name, at, "test") is not None


def off_by_one(run):
    return lambda q, k, v: run(q, k, torch.roll(v, 1, dims=2))


def detached(run):
    return lambda q, k, v: run(q, k.detach(), v) + 0 * k.sum()


def not_a_number(run):
    return lambda q, k, v: run(q, k, v).index_fill(2, torch.tensor([0]), torch.nan)


def rough(run):
    return lambda q, k, v: run(q.bfloat16(), k.bfloat16(), v.bfloat16()).float()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (off_by_one, "the output"),
        (detached, "the gradient of k"),
        (not_a_number, "the output"),
        (rough, "the output"),
    ],
)
def test_a_wrong_implementation_is_refused_before_it_is_timed(fault, says):
    with known_as(planted(fault)):
        with pytest.raises(Wrong, match=says):
            check_implementation(MechanismName("planted", "softmax"), point(), "test")
        row = rows_of(["softmax:planted", "softmax:sdpa"], point())
    assert row["softmax:planted"].status == "refused"
    assert row["softmax:planted"].timing is None
    assert row["softmax:sdpa"].status == "ok"


def keeps_the_first(run):
    kept = []

    def call(q, k, v):
        if not kept:
            kept.append(run(q, k, v))
        return kept[0]

    return call


def keeps_by_address(run):
    kept = {}

    def call(q, k, v):
        address = q.data_ptr()
        if address not in kept:
            kept[address] = run(q, k, v)
        return kept[address]

    return call


def keeps_by_address_after_a_while(run):
    kept, calls = {}, []

    def call(q, k, v):
        calls.append(1)
        address = q.data_ptr()
        if len(calls) < 8 or address not in kept:
            kept[address] = run(q, k, v)
        return kept[address]

    return call


@pytest.mark.parametrize("fault", [keeps_the_first, keeps_by_address])
def test_an_implementation_that_keeps_its_answer_is_refused_before_it_is_timed(fault):
    with known_as(planted(fault)), pytest.raises(Wrong):
        check_implementation(MechanismName("planted", "softmax"), point(), "test")


def test_an_implementation_that_begins_to_keep_answers_while_it_is_timed_is_refused_after():
    with known_as(planted(keeps_by_address_after_a_while)):
        assert (
            check_implementation(MechanismName("planted", "softmax"), point(), "test") is not None
        )
        row = rows_of(["softmax:planted"], point())["softmax:planted"]
    assert row.status == "refused"
    assert "after timing" in row.message
    assert row.timing is None


def test_an_answer_to_other_inputs_is_caught_among_the_timed_ones():
    passage = Passage(build(MechanismName("sdpa", "softmax"), point()))
    check_timed(passage, 1, passage.forward(1), "test")
    other = Passage(build(MechanismName("sdpa", "softmax"), point()))
    with pytest.raises(Wrong, match="the last timed output"):
        check_timed(other, 2, other.forward(1), "test")


def test_a_variant_that_keeps_its_answer_differs_from_its_twin():
    passage = Passage(build(MechanismName("linear"), point()))
    check_timed(passage, 0, passage.forward(0), "test")
    kept = passage.forward(0)
    passage.mechanism.forward = lambda inputs: kept
    with pytest.raises(Wrong, match="after timing"):
        check_timed(passage, 0, None, "test")
