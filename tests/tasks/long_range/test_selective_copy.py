"""selective-copy: the labels are the symbols of the sequence, blanks left out, in order."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.long_range.selective_copy import IGNORED, Scattered, generate


@pytest.mark.parametrize("params", [Scattered(64, 16, 16), Scattered(12, 5, 4)], ids=str)
def test_the_copies_are_the_symbols_before_the_copy_token(params):
    blank, copy = params.vocabulary - 2, params.vocabulary - 1
    inputs, labels = generate(params, 60, generator("copies", params))
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        assert row.count(copy) == 1
        heard, said = row[: row.index(copy)], row[row.index(copy) + 1 :]
        assert said == [blank] * params.tokens
        assert heard[-1] != blank
        assert asked[-params.tokens :] == [token for token in heard if token != blank]
        assert set(asked[: -params.tokens]) == {IGNORED}
        assert len(row) == params.length


def test_each_blank_stands_before_a_uniformly_chosen_symbol():
    params = make("selective-copy").recipe.data
    blanks = params.length - 2 * params.tokens - 1
    inputs = draw("selective-copy", 2000)["inputs"][:, : params.tokens + blanks]
    is_blank = inputs == params.vocabulary - 2
    rank = (~is_blank).cumsum(dim=1)
    counts = [((rank == j) & is_blank).sum().item() for j in range(params.tokens)]
    assert sum(counts) == 2000 * blanks
    shares = [count / 2000 for count in counts]
    assert shares == pytest.approx([blanks / params.tokens] * params.tokens, abs=0.2)


def test_the_most_frequent_symbol_scores_its_own_share():
    batch = draw("selective-copy", 200)
    (score,) = make("selective-copy").shortcuts(batch).values()
    for labels, share in zip(batch["targets"].tolist(), score, strict=True):
        copies = [label for label in labels if label != IGNORED]
        assert share == pytest.approx(max(map(copies.count, copies)) / len(copies))
    assert 0.15 < score.mean() < 0.25


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
        Scattered(length=9, tokens=4, vocabulary=9)


def test_splits_share_no_example():
    assert_disjoint("selective-copy")
