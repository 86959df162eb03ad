"""recall-latest: the label of a key is the value that was written to it last."""

from collections import Counter

import pytest
import torch
from task_support import assert_disjoint, draw, make

from cab.seeding import generator
from cab.task import IGNORED
from cab.tasks.retrieval.recall_latest import Writes, generate

LEVELS = [Writes(1, 1, 4), Writes(3, 1, 8), Writes(4, 3, 5), Writes(16, 3, 64)]


@pytest.mark.parametrize("params", LEVELS, ids=str)
def test_labels_are_what_a_dictionary_holds_after_all_writes(params):
    inputs, labels = generate(params, 50, generator("dictionary", params))
    assert inputs.shape == labels.shape == (50, params.length)
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        written = row[: -params.keys]
        pairs = list(zip(written[::2], written[1::2], strict=True))
        assert len(pairs) == len(set(pairs)) == params.keys * params.writes
        assert all(0 <= key < params.symbols <= value < 2 * params.symbols for key, value in pairs)
        counts = Counter(key for key, _ in pairs)
        assert set(counts.values()) == {params.writes}
        held = dict(pairs)
        assert sorted(row[-params.keys :]) == sorted(held)
        assert asked[-params.keys :] == [held[key] for key in row[-params.keys :]]
        assert set(asked[: -params.keys]) <= {IGNORED}


def test_the_last_write_of_a_key_may_be_anywhere():
    params = Writes(4, 2, 16)
    inputs, _ = generate(params, 2000, generator("anywhere"))
    last = inputs[:, : 2 * 8 : 2].flip(1).eq(inputs[:, :1]).long().argmax(dim=1)
    assert set(last.tolist()) == set(range(7))


def test_the_last_value_answers_one_question():
    task = make("recall-latest")
    scores = task.shortcuts(draw("recall-latest", 200))["last value"]
    assert scores.min() >= 1 / task.recipe.data.keys
    assert scores.mean() < 2 / task.recipe.data.keys


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="from 1 to symbols"):
        Writes(keys=9, writes=1, symbols=8)
    with pytest.raises(ValueError, match="from 1 to symbols"):
        Writes(keys=3, writes=0, symbols=8)


def test_splits_share_no_example():
    assert_disjoint("recall-latest")


def test_chance_is_one_of_the_values():
    task = make("recall-latest")
    assert task.card.chance == pytest.approx(1 / task.recipe.data.symbols)
    values = draw("recall-latest", 500)["targets"]
    assert len(torch.unique(values[values != IGNORED])) == task.recipe.data.symbols
