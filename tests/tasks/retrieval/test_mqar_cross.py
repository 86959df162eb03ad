"""mqar-cross: every key of the memory is asked once for the value that it is stored with."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.retrieval.mqar_cross import Memory


def stored(batch: dict[str, torch.Tensor], keys: int) -> list[list[tuple[int, int]]]:
    """The pairs of each memory, read from its features with loops."""
    memories = []
    for memory in batch["context"].tolist():
        pairs = []
        for features in memory:
            ones = [place for place, feature in enumerate(features) if feature]
            assert len(ones) == 2
            assert ones[0] < keys <= ones[1]
            pairs.append((ones[0], ones[1] - keys))
        memories.append(pairs)
    return memories


def test_a_target_is_the_value_stored_with_the_key_that_is_asked():
    params = make("mqar-cross").recipe.data
    batch = draw("mqar-cross", 40)
    for pairs, queries, targets in zip(
        stored(batch, params.keys), batch["inputs"], batch["targets"].tolist(), strict=True
    ):
        memory = dict(pairs)
        assert len(memory) == len(set(memory.values())) == params.pairs
        asked = [query.nonzero().item() for query in queries]
        assert sorted(asked) == sorted(memory)
        assert targets == [memory[key] for key in asked]
        assert set(queries.sum(dim=1).tolist()) == {1.0}


def test_the_order_of_the_queries_says_nothing_of_the_memory_s():
    params = make("mqar-cross").recipe.data
    batch = draw("mqar-cross", 400)
    stored_keys = batch["context"][..., : params.keys].argmax(dim=-1)
    same = (stored_keys == batch["inputs"].argmax(dim=-1)).float().mean()
    assert same == pytest.approx(1 / params.pairs, abs=0.01)


def test_the_first_value_answers_one_query_in_each_example():
    task, batch = make("mqar-cross"), draw("mqar-cross", 40)
    (score,) = task.shortcuts(batch).values()
    assert score.tolist() == pytest.approx([1 / task.recipe.data.pairs] * 40)
    for pairs, targets in zip(stored(batch, task.recipe.data.keys), batch["targets"], strict=True):
        assert targets.tolist().count(pairs[0][1]) == 1


def test_accuracy_is_the_share_of_queries():
    task, batch = make("mqar-cross"), draw("mqar-cross", 3)
    right = torch.nn.functional.one_hot(batch["targets"], task.recipe.data.values).float()
    right[2, :7] = right[2, :7].roll(1, dims=-1)
    expected = [1, 1, 1 - 7 / task.recipe.data.pairs]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="pairs <= values"):
        Memory(pairs=5, keys=6, values=4)


def test_levels_have_from_2_to_64_pairs_of_the_same_keys_and_values():
    levels = make("mqar-cross").at_levels()
    assert [level.recipe.data.pairs for level in levels] == [2, 4, 8, 16, 32, 64]
    for level in levels:
        batch = level.draw("test", 20, generator("levels"))
        assert batch["context"].shape == (20, level.recipe.data.pairs, 160)
        assert batch["inputs"].shape == (20, level.recipe.data.pairs, 80)
        assert level.shortcuts(batch)["first value"].tolist() == pytest.approx(
            [1 / level.recipe.data.pairs] * 20
        )


def test_splits_share_no_example():
    assert_disjoint("mqar-cross")
