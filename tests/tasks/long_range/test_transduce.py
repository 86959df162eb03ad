"""transduce: the target is the source."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, softmax_slots

from cab.tasks.long_range.transduce import Strings


def test_the_target_is_the_source():
    batch, params = draw("transduce"), make("transduce").recipe.data
    for source, target in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert len(source) == params.length
        assert target == source
    assert set(batch["inputs"].unique().tolist()) == set(range(params.symbols))


def test_the_most_frequent_symbol_scores_its_own_share():
    (score,) = make("transduce").shortcuts(draw("transduce", 300)).values()
    for source, share in zip(draw("transduce", 300)["inputs"].tolist(), score, strict=True):
        assert share == pytest.approx(max(map(source.count, source)) / len(source))
    assert 0.06 < score.mean() < 0.075  # 8 to 9 of 128 symbols, where 4 are expected of each


def test_each_symbol_is_scored_given_the_true_ones_before_it():
    task, batch = make("transduce", "smoke"), draw("transduce", 3, profile="smoke")
    symbols = task.recipe.data.symbols
    answers = batch["targets"].clone()
    answers[0, 2:5] = (answers[0, 2:5] + 1) % symbols

    def model(source, padding, tokens):
        assert torch.equal(source.argmax(dim=-1), batch["inputs"])
        assert not padding.any()
        assert tokens[:, 0].eq(symbols).all()
        assert torch.equal(tokens[:, 1:], batch["targets"][:, :-1])
        return torch.nn.functional.one_hot(answers, symbols + 1).float()

    expected = [1 - 3 / task.recipe.data.length, 1, 1]
    assert task.evaluate(model, batch)["accuracy"].tolist() == pytest.approx(expected)


def test_places_and_symbols_weigh_alike_at_the_start():
    model = make("transduce").build(softmax_slots("cc"))
    spreads = [
        weight.std().item()
        for weight in (
            model.embed_source.weight,
            model.embed_target.weight,
            model.source_positions.table,
        )
    ]
    assert spreads == pytest.approx([0.02] * 3, rel=0.1)


def test_a_place_of_the_source_and_of_the_target_is_one_vector():
    model = make("transduce").build(softmax_slots("cc"))
    assert model.target_positions is model.source_positions


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="symbols >= 2"):
        Strings(length=4, symbols=1)


def test_splits_share_no_example():
    assert_disjoint("transduce")
