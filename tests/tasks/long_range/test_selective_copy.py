"""selective-copy: the labels are the symbols of the sequence, blanks left out, in order."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.task import IGNORED
from cab.tasks.long_range.selective_copy import Scattered, generate


@pytest.mark.parametrize("params", [Scattered(64, 16, 14, 16), Scattered(12, 5, 2, 9)], ids=str)
def test_the_labels_are_the_symbols_that_the_last_tokens_ask_for(params):
    start, blank, ask = range(params.symbols, params.symbols + 3)
    inputs, labels = generate(params, 60, generator("copies", params))
    assert inputs.max() < params.vocabulary
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        assert len(row) == params.length
        assert row[0] == start
        heard, asks = row[1 : -params.tokens], row[-params.tokens :]
        assert asks == list(range(ask, ask + params.tokens))
        assert heard[-1] != blank
        assert max(heard) <= blank
        assert start not in heard
        assert asked[-params.tokens :] == [token for token in heard if token != blank]
        assert set(asked[: -params.tokens]) == {IGNORED}


def test_each_blank_stands_before_a_uniformly_chosen_symbol():
    params = make("selective-copy").recipe.data
    blanks = params.length - 2 * params.tokens - 1
    inputs = draw("selective-copy", 2000)["inputs"][:, 1 : 1 + params.tokens + blanks]
    is_blank = inputs == params.symbols + 1
    rank = (~is_blank).cumsum(dim=1)
    counts = [((rank == j) & is_blank).sum().item() for j in range(params.tokens)]
    assert sum(counts) == 2000 * blanks
    shares = [count / 2000 for count in counts]
    assert shares == pytest.approx([blanks / params.tokens] * params.tokens, rel=0.03)


def test_the_most_frequent_symbol_scores_its_own_share():
    batch = draw("selective-copy", 200)
    (score,) = make("selective-copy").shortcuts(batch).values()
    for labels, share in zip(batch["targets"].tolist(), score, strict=True):
        copies = [label for label in labels if label != IGNORED]
        assert share == pytest.approx(max(map(copies.count, copies)) / len(copies))
    assert 0.25 < score.mean() < 0.4


def test_accuracy_is_the_share_of_copies():
    task, batch = make("selective-copy"), draw("selective-copy", 2)
    params = task.recipe.data
    labels = batch["targets"].clamp(min=0)
    right = torch.nn.functional.one_hot(labels, params.vocabulary).float()
    right[0, -3:] = right[0, -3:].roll(1, dims=-1)
    expected = [1 - 3 / params.tokens, 1]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="length > 2 tokens"):
        Scattered(length=8, tokens=4, symbols=9, most=4)


def test_splits_share_no_example():
    assert_disjoint("selective-copy")
