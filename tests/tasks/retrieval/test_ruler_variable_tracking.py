"""ruler-variable-tracking: the answers are the variables that a run of the program finds."""

import pytest
from task_support import assert_disjoint, draw, make

from cab.seeding import generator
from cab.tasks.retrieval._haystack import ASK, FIRST_FILLER, MARK
from cab.tasks.retrieval.ruler_variable_tracking import Chains, generate

SETTINGS = [
    Chains(length=64, chains=3, hops=2, variables=14, values=5, filler=4),
    Chains(length=40, chains=1, hops=4, variables=5, values=1, filler=1),
    Chains(length=11, chains=3, hops=0, variables=3, values=3, filler=2),
]


def run(params: Chains, tokens: list[int]) -> dict[int, int]:
    """Run the statements in order and return the value of every variable."""
    value_of: dict[int, int] = {}
    place = 0
    while place < len(tokens):
        if tokens[place] == MARK:
            variable, to = tokens[place + 1 : place + 3]
            assert params.first_variable <= variable < params.first_value
            assert variable not in value_of
            value_of[variable] = to if to >= params.first_value else value_of[to]
            place += 3
        else:
            assert FIRST_FILLER <= tokens[place] < params.first_variable
            place += 1
    return value_of


@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_the_answers_are_the_variables_of_the_value(params):
    inputs, answers = generate(params, 100, generator("chains", params))
    assert inputs.shape == (100, params.length)
    for tokens, asked in zip(inputs.tolist(), answers.tolist(), strict=True):
        assert tokens[-2] == ASK
        value_of = run(params, tokens[:-2])
        assert len(value_of) == params.statements
        assert len(set(value_of.values())) == params.chains
        assert {v for v, value in value_of.items() if value == tokens[-1]} == set(asked)
        assert len(set(asked)) == params.hops + 1


def test_statements_of_chains_are_mixed_in_every_order():
    params = Chains(length=14, chains=2, hops=1, variables=4, values=2, filler=1)
    inputs, answers = generate(params, 6000, generator("orders"))
    orders: dict[tuple, int] = {}
    for tokens, asked in zip(inputs.tolist(), answers.tolist(), strict=True):
        order = tuple(variable in asked for variable in run(params, tokens[:-2]))
        orders[order] = orders.get(order, 0) + 1
    assert len(orders) == 6
    assert [count / 6000 for count in orders.values()] == pytest.approx([1 / 6] * 6, abs=0.03)


def test_the_last_variables_answer_as_many_as_are_among_them():
    task, batch = make("ruler-variable-tracking"), draw("ruler-variable-tracking", 200)
    params = task.recipe.data
    (scores,) = task.shortcuts(batch).values()
    for tokens, answers, score in zip(
        batch["inputs"].tolist(), batch["answers"].tolist(), scores, strict=True
    ):
        last = list(run(params, tokens[:-2]))[-params.hops - 1 :]
        assert score == pytest.approx(len(set(last) & set(answers)) / len(answers))


def test_chance_is_a_draw_among_the_variables():
    task = make("ruler-variable-tracking")
    params = task.recipe.data
    assert task.card.chance == pytest.approx((params.hops + 1) / params.variables)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"length": 19}, "enlarge the length"),
        ({"values": 1}, "number of values"),
        ({"variables": 5}, "variable of its own"),
    ],
)
def test_impossible_parameters_are_refused(settings, reason):
    good = {"length": 20, "chains": 2, "hops": 2, "variables": 6, "values": 2, "filler": 1}
    with pytest.raises(ValueError, match=reason):
        Chains(**{**good, **settings})


def test_splits_share_no_example():
    assert_disjoint("ruler-variable-tracking")
