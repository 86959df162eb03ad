"""compose: a key has two parts, and its value is found by both of them at once."""

from collections import Counter

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.task import IGNORED
from cab.tasks.long_range.compose import Composed, generate

LEVELS = make("compose").at_levels()
PARAMS = [LEVELS[0].recipe.data, LEVELS[-1].recipe.data, Composed(5, 3, 7, 6)]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_a_target_is_the_value_that_stands_with_both_parts_of_the_key(params):
    tokens, targets = generate(params, 20, generator("compose", params))
    assert tokens.shape == (20, 2 * params.pairs, 3)
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        known = {(a, b): value for a, b, value in row if value != -1}
        assert len(known) == params.pairs
        assert len({a for a, _ in known}) <= params.used
        assert len({b for _, b in known}) <= params.used
        assert sorted((a, b) for a, b, value in row if value == -1) == sorted(known)
        assert answers == [known[a, b] if value == -1 else IGNORED for a, b, value in row]


def test_features_are_the_parts_and_the_value_one_hot():
    params = LEVELS[1].recipe.data
    tokens, _ = generate(params, 400, generator("ranges"))
    found = [tokens[..., at].unique().tolist() for at in range(3)]
    assert found[0] == found[1] == list(range(params.parts))
    assert found[2] == list(range(-1, params.values))
    batch = LEVELS[1].draw("test", 5, generator("features"))
    first, second, value = batch["inputs"].split(
        (params.parts, params.parts, params.values), dim=-1
    )
    assert first.sum(dim=-1).eq(1).all()
    assert second.sum(dim=-1).eq(1).all()
    assert value.sum(dim=-1).eq(1).eq(batch["targets"] == IGNORED).all()
    assert value.sum(dim=-1).eq(0).eq(batch["targets"] != IGNORED).all()


def test_levels_grow_to_128_pairs_whose_parts_are_all_shared():
    assert [level.recipe.data.pairs for level in LEVELS] == [2, 20, 48, 88, 128]
    tokens, _ = generate(LEVELS[-1].recipe.data, 50, generator("shared"))
    for part in (0, 1):
        same = tokens[:, :, None, part] == tokens[:, None, :, part]
        # Every key stands twice, once with its value and once as a query.
        assert same.sum(dim=2).float().mean() / 2 > 6


def test_shortcuts_are_the_most_frequent_value_of_all_or_of_the_same_second_part():
    task, batch = LEVELS[1], LEVELS[1].draw("test", 30, generator("shortcuts"))
    params = task.recipe.data
    scores = task.shortcuts(batch)
    for row in range(30):
        tokens = []
        for features in batch["inputs"][row]:
            _, second, value = features.split((params.parts, params.parts, params.values))
            tokens.append((second.argmax().item(), value.argmax().item(), value.any().item()))
        asked = [at for at, (_, _, known) in enumerate(tokens) if not known]
        right = {"most frequent value": 0, "same second part": 0}
        for at in asked:
            for name in right:
                counts = Counter(
                    value
                    for second, value, known in tokens
                    if known and (name == "most frequent value" or second == tokens[at][0])
                )
                best = min(v for v in counts if counts[v] == max(counts.values()))
                right[name] += best == batch["targets"][row, at].item()
        for name, count in right.items():
            assert scores[name][row] == pytest.approx(count / len(asked))


def test_accuracy_counts_the_queries_alone():
    task, batch = make("compose"), draw("compose", 2)
    right = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), 32).float()
    first = (batch["targets"][1] != IGNORED).nonzero()[0]
    right[1, first] = right[1, first].roll(1, dims=-1)
    expected = [1, 1 - 1 / task.recipe.data.pairs]
    assert scored_by(task, batch, right)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    for pairs, used, parts in ((5, 2, 4), (4, 5, 4)):
        with pytest.raises(ValueError, match="used squared"):
            Composed(pairs, used, parts, values=9)


def test_splits_share_no_example():
    assert_disjoint("compose")
