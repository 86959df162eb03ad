"""induction: a label is what followed the same symbol when it was read first."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.tasks.long_range.induction import IGNORED, Repeats


def test_a_label_is_what_followed_the_symbol_at_its_first_reading():
    params, batch = make("induction").recipe.data, draw("induction")
    for tokens, labels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        first, second = tokens[: params.length], tokens[params.length :]
        assert len(set(first)) == params.length
        assert sorted(first) == sorted(second)
        assert set(labels[: params.length]) == {IGNORED}
        for symbol, label in zip(second, labels[params.length :], strict=True):
            place = first.index(symbol)
            assert label == (IGNORED if symbol == first[-1] else first[place + 1])


def test_the_second_reading_goes_on_in_order_and_begins_anywhere():
    length, batch = make("induction").recipe.data.length, draw("induction", 1000)
    begins = set()
    for tokens in batch["inputs"].tolist():
        begin = tokens.index(tokens[length])
        begins.add(begin)
        assert tokens[length:] == tokens[begin:length] + tokens[:begin]
    assert begins == set(range(length))


def test_a_fixed_distance_answers_only_where_the_reading_begins_as_before():
    task, batch = make("induction"), draw("induction", 3000)
    (score,) = task.shortcuts(batch).values()
    length = task.recipe.data.length
    begun = batch["inputs"][:, 0] == batch["inputs"][:, length]
    assert set(score[begun].tolist()) == {1.0}
    assert set(score[~begun].tolist()) == {0.0}
    assert score.mean() == pytest.approx(1 / length, abs=0.01)


def test_accuracy_leaves_out_the_symbol_that_asks_nothing():
    task, batch = make("induction"), draw("induction", 2)
    params = task.recipe.data
    right = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), params.symbols).float()
    first = (batch["targets"][0] != IGNORED).nonzero()[0]
    right[0, first] = right[0, first].roll(1, dims=-1)
    expected = [1 - 1 / (params.length - 1), 1]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="length <= symbols"):
        Repeats(length=9, symbols=8)


def test_splits_share_no_example():
    assert_disjoint("induction")
