"""pointer-chase: a target is where following the map, step by step, leads."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.long_range.pointer_chase import Chase, generate


@pytest.mark.parametrize("params", [Chase(24, 2), Chase(9, 3), Chase(11, 7)], ids=str)
def test_a_target_is_where_so_many_steps_from_its_token_lead(params):
    inputs, targets = generate(params, 60, generator("chase", params))
    for tokens, labels in zip(inputs.tolist(), targets.tolist(), strict=True):
        symbols = [token % params.symbols for token in tokens]
        assert all(token < params.symbols for token in tokens[0::2])
        assert all(token >= params.symbols for token in tokens[1::2])
        step = dict(zip(symbols[0::2], symbols[1::2], strict=True))
        assert len(step) == params.symbols
        for symbol, label in zip(symbols, labels, strict=True):
            for _ in range(params.hops):
                symbol = step[symbol]
            assert label == symbol


def test_the_map_is_one_cycle_so_no_answer_is_the_question():
    inputs, _ = generate(Chase(10, 2), 200, generator("cycle"))
    for tokens in inputs.tolist():
        step = {key: value - 10 for key, value in zip(tokens[0::2], tokens[1::2], strict=True)}
        symbol, seen = 0, set()
        while symbol not in seen:
            seen.add(symbol)
            symbol = step[symbol]
        assert len(seen) == 10


def test_the_next_value_is_right_as_often_as_a_guess():
    task, batch = make("pointer-chase"), draw("pointer-chase", 1000)
    (score,) = task.shortcuts(batch).values()
    symbols = task.recipe.data.symbols
    assert score.mean() == pytest.approx(1 / (symbols - 1), abs=0.003)
    values = [token - symbols for token in batch["inputs"][5, 1::2].tolist()]
    guesses = [value for value in values[1:] + values[:1] for _ in range(2)]
    right = [a == b for a, b in zip(guesses, batch["targets"][5].tolist(), strict=True)]
    assert score[5] == pytest.approx(sum(right) / len(right))


def test_accuracy_is_over_all_tokens_and_over_values():
    task, batch = make("pointer-chase"), draw("pointer-chase", 2)
    symbols = task.recipe.data.symbols
    right = torch.nn.functional.one_hot(batch["targets"], symbols).float()
    right[1, 0::2] = right[1, 0::2].roll(1, dims=-1)
    metrics = scored_by(task, batch, right)
    assert metrics["accuracy"].tolist() == [1, 0.5]
    assert metrics["value_accuracy"].tolist() == [1, 1]


def test_impossible_parameters_are_refused():
    for symbols, hops in ((8, 1), (8, 7)):
        with pytest.raises(ValueError, match="2 <= hops"):
            Chase(symbols, hops)


def test_splits_share_no_example():
    assert_disjoint("pointer-chase")
