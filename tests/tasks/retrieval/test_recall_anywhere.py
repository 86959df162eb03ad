"""recall-anywhere: every key is asked once for the value of its pair, wherever the two stand."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.retrieval.recall_anywhere import BLANK, IGNORED, Mixed, generate


def couples(inputs: list[int]) -> list[tuple[int, int]]:
    return list(zip(inputs[0::2], inputs[1::2], strict=True))


def test_a_label_is_the_value_that_stands_behind_the_same_key():
    params = make("recall-anywhere").recipe.data
    batch = draw("recall-anywhere")
    for inputs, labels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        pairs = {key: value for key, value in couples(inputs) if value != BLANK}
        asked = [2 * place for place, (_, second) in enumerate(couples(inputs)) if second == BLANK]
        assert len(pairs) == len(asked) == params.pairs
        assert sorted(inputs[place] for place in asked) == sorted(pairs)
        for place, label in enumerate(labels):
            assert label == (pairs[inputs[place]] if place in asked else IGNORED)


def test_keys_and_values_are_distinct_and_of_their_own_ranges():
    params = make("recall-anywhere").recipe.data
    for inputs in draw("recall-anywhere")["inputs"].tolist():
        pairs = [pair for pair in couples(inputs) if pair[1] != BLANK]
        keys, values = map(set, zip(*pairs, strict=True))
        assert len(keys) == len(values) == params.pairs
        assert keys <= set(range(1, 1 + params.keys))
        assert values <= set(range(1 + params.keys, params.vocabulary))


def test_half_of_the_queries_come_before_their_pair():
    before, total = 0, 0
    for inputs in draw("recall-anywhere", 500)["inputs"].tolist():
        place = {}
        for at, (key, second) in enumerate(couples(inputs)):
            place.setdefault(key, {})["query" if second == BLANK else "pair"] = at
        before += sum(found["query"] < found["pair"] for found in place.values())
        total += len(place)
    assert before / total == pytest.approx(0.5, abs=0.02)


def test_pairs_and_queries_stand_anywhere_alike():
    asked = draw("recall-anywhere", 2000)["targets"][:, 0::2] != IGNORED
    assert (asked.float().mean(dim=0) - 0.5).abs().max() < 0.06


def test_the_last_value_answers_one_query_in_each_example():
    task, batch = make("recall-anywhere"), draw("recall-anywhere")
    (score,) = task.shortcuts(batch).values()
    assert score.tolist() == pytest.approx([1 / task.recipe.data.pairs] * len(score))
    for inputs, labels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        last = [value for _, value in couples(inputs) if value != BLANK][-1]
        assert labels.count(last) == 1


def test_accuracy_counts_the_queries_alone():
    task, batch = make("recall-anywhere"), draw("recall-anywhere", 3)
    size = task.recipe.data.vocabulary
    right = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), size).float()
    assert scored_by(task, batch, right)["accuracy"].tolist() == [1, 1, 1]
    first = (batch["targets"][1] != IGNORED).nonzero()[0]
    right[1, first] = right[1, first].roll(1, dims=-1)
    expected = [1, 1 - 1 / task.recipe.data.pairs, 1]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="pairs <= keys"):
        Mixed(pairs=5, keys=4, values=9)
    inputs, labels = generate(Mixed(pairs=2, keys=2, values=3), 6, generator("small"))
    assert inputs.shape == labels.shape == (6, 8)


def test_levels_have_from_2_to_32_pairs_of_the_same_keys_and_values():
    levels = make("recall-anywhere").at_levels()
    assert [level.recipe.data.pairs for level in levels] == [2, 4, 8, 16, 32]
    for level in levels:
        batch = level.draw("test", 20, generator("levels"))
        assert batch["inputs"].shape == (20, 4 * level.recipe.data.pairs)
        assert (batch["targets"] != IGNORED).sum(dim=1).eq(level.recipe.data.pairs).all()


def test_splits_share_no_example():
    assert_disjoint("recall-anywhere")
