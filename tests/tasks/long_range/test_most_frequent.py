"""most-frequent: a token is asked for the value that most tokens of its class have."""

from collections import Counter

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.task import IGNORED
from cab.tasks.long_range.most_frequent import Grouped, generate

LEVELS = make("most-frequent").at_levels()
PARAMS = [LEVELS[0].recipe.data, LEVELS[-1].recipe.data, Grouped(5, 2, 1, classes=5, values=4)]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_a_target_is_the_most_frequent_value_of_the_class_where_another_stands(params):
    tokens, targets = generate(params, 20, generator("most frequent", params))
    assert tokens.shape == (20, params.length, 2)
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        found = {kind: Counter(v for k, v in row if k == kind) for kind, _ in row}
        assert len(found) == params.used
        common = {}
        for kind, counts in found.items():
            (common[kind], most), *others = counts.most_common()
            assert most == params.agreeing
            assert [times for _, times in others] == [1] * params.deviating
        expected = [IGNORED if v == common[kind] else common[kind] for kind, v in row]
        assert answers == expected


def test_classes_values_and_places_are_all_drawn():
    params = LEVELS[1].recipe.data
    tokens, targets = generate(params, 400, generator("ranges"))
    assert tokens[..., 0].unique().tolist() == list(range(params.classes))
    for found in (tokens[..., 1], targets[targets != IGNORED]):
        shares = found.flatten().bincount(minlength=params.values) / found.numel()
        assert shares == pytest.approx(1 / params.values, abs=0.015)
    asked = (targets != IGNORED).float().mean(dim=0)
    assert asked == pytest.approx(
        params.deviating / (params.agreeing + params.deviating), abs=0.12
    )


def test_features_are_the_class_and_the_value_one_hot():
    params = LEVELS[1].recipe.data
    batch = LEVELS[1].draw("test", 5, generator("features"))
    assert batch["inputs"].shape == (5, params.length, params.features)
    classes, values = batch["inputs"].split((params.classes, params.values), dim=-1)
    assert classes.sum(dim=-1).eq(1).all()
    assert values.sum(dim=-1).eq(1).all()
    asked = batch["targets"] != IGNORED
    assert asked.sum(dim=1).eq(params.used * params.deviating).all()
    assert (values.argmax(dim=-1) != batch["targets"])[asked].all()


def test_levels_grow_to_32_classes_of_which_one_token_tells_little():
    assert [level.recipe.data.used for level in LEVELS] == [2, 8, 16, 24, 32]
    tokens, targets = generate(LEVELS[-1].recipe.data, 50, generator("one token"))
    same = tokens[:, :, None, 0] == tokens[:, None, :, 0]
    same &= ~torch.eye(tokens.shape[1], dtype=torch.bool)
    right = tokens[:, None, :, 1] == targets[:, :, None]
    asked = targets != IGNORED
    assert (same & right).sum(dim=2)[asked].float().mean() == 3
    assert same.sum(dim=2)[asked].float().mean() == 7


def test_the_shortcut_is_the_most_frequent_value_of_all_but_the_own():
    task, batch = LEVELS[1], LEVELS[1].draw("test", 30, generator("shortcuts"))
    (scores,) = task.shortcuts(batch).values()
    values = batch["inputs"][..., task.recipe.data.classes :].argmax(dim=-1).tolist()
    for row, (own, answers) in enumerate(zip(values, batch["targets"].tolist(), strict=True)):
        counts = Counter(own)
        asked = [at for at, answer in enumerate(answers) if answer != IGNORED]
        right = 0
        for at in asked:
            others = {v: counts[v] for v in counts if v != own[at]}
            most = max(others.values())
            right += min(v for v in others if others[v] == most) == answers[at]
        assert scores[row] == pytest.approx(right / len(asked))


def test_accuracy_counts_the_deviating_tokens_alone():
    task, batch = make("most-frequent"), draw("most-frequent", 2)
    params = task.recipe.data
    answers = torch.nn.functional.one_hot(batch["targets"].clamp(min=0), params.values).float()
    first = (batch["targets"][1] != IGNORED).nonzero()[0]
    answers[1, first] = answers[1, first].roll(1, dims=-1)
    expected = [1, 1 - 1 / (params.used * params.deviating)]
    assert scored_by(task, batch, answers)["accuracy"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "counts", [(4, 3, 2, 3, 8), (2, 1, 2, 3, 8), (2, 3, 0, 3, 8), (2, 3, 8, 3, 8)]
)
def test_impossible_parameters_are_refused(counts):
    with pytest.raises(ValueError, match="used <= classes"):
        Grouped(*counts)


def test_splits_share_no_example():
    assert_disjoint("most-frequent")
