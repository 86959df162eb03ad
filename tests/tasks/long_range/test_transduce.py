"""transduce: the target is the source, read from its end."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, softmax_slots

from cab.tasks.long_range.transduce import Strings


def test_the_target_is_the_source_backwards():
    batch, params = draw("transduce"), make("transduce").recipe.data
    for source, target in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert len(source) == params.length
        assert target == [source[-1 - place] for place in range(params.length)]
    assert set(batch["inputs"].unique().tolist()) == set(range(params.symbols))


def test_the_most_frequent_symbol_scores_its_own_share():
    (score,) = make("transduce").shortcuts(draw("transduce", 300)).values()
    for source, share in zip(draw("transduce", 300)["inputs"].tolist(), score, strict=True):
        assert share == pytest.approx(max(map(source.count, source)) / len(source))
    assert 0.1 < score.mean() < 0.2


def test_the_decoder_is_scored_on_what_it_writes_by_itself():
    task, batch = make("transduce", "smoke"), draw("transduce", 3, profile="smoke")
    written = batch["targets"].clone()
    written[0, 2:5] = (written[0, 2:5] + 1) % task.recipe.data.symbols
    model = task.build(softmax_slots("cc"))

    def generate(source, padding, first, steps):
        assert torch.equal(source.argmax(dim=-1), batch["inputs"])
        assert not padding.any()
        assert (first, steps) == (task.recipe.data.symbols, task.recipe.data.length)
        return written

    model.generate = generate
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
            model.target_positions.table,
        )
    ]
    assert spreads == pytest.approx([0.02] * 4, rel=0.1)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="symbols >= 2"):
        Strings(length=4, symbols=1)


def test_splits_share_no_example():
    assert_disjoint("transduce")
